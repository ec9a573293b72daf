// The names and the options of a Socket.
#include <cerrno>

#include "backend/option.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/arguments.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

SocketObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<SocketObject*>(self); }

PyObject* name(PyObject* self, bool peer) {
    Address address;
    if (!with_code(self_of(self), [&](Backend& backend, Socket& core) {
            return backend.name_of(core, peer, address);
        })) {
        return nullptr;
    }
    return from_address(address);
}
PyObject* getsockname(PyObject* self, PyObject* /*unused*/) { return name(self, false); }
PyObject* getpeername(PyObject* self, PyObject* /*unused*/) { return name(self, true); }

PyObject* getsockopt(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    if (count < 2 || count > 3) {
        return raise(types, ErrorClass::argument_type, EINVAL,
                     "getsockopt() takes level, option and, for a bytes result, its length");
    }
    int level = 0;
    int option = 0;
    Py_ssize_t wanted = 0;
    if (!to_int(types, given[0], "level", level) || !to_int(types, given[1], "option", option) ||
        (count == 3 && !to_size(types, given[2], "length", 0, wanted))) {
        return nullptr;
    }
    if (wanted > 1024) {
        return raise(types, ErrorClass::argument, EINVAL, "an option has at most 1024 bytes");
    }
    char bytes[1024];
    int number = 0;
    std::size_t length = wanted != 0 ? static_cast<std::size_t>(wanted) : sizeof number;
    void* where = wanted != 0 ? static_cast<void*>(bytes) : &number;
    if (!with_code(socket, [&](Backend& backend, Socket& core) {
            return backend.get_option(core, level, option, where, length);
        })) {
        return nullptr;
    }
    return wanted != 0 ? PyBytes_FromStringAndSize(bytes, static_cast<Py_ssize_t>(length))
                       : PyLong_FromLong(number);
}

PyObject* setsockopt(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    int level = 0;
    int option = 0;
    if (count != 3) {
        return raise(types, ErrorClass::argument_type, EINVAL,
                     "setsockopt() takes level, option and a value (int or bytes-like)");
    }
    if (!to_int(types, given[0], "level", level) || !to_int(types, given[1], "option", option)) {
        return nullptr;
    }
    int number = 0;
    Lease lease;
    const void* value = &number;
    std::size_t length = sizeof number;
    if (PyLong_Check(given[2])) {
        if (!to_int(types, given[2], "value", number)) {
            return nullptr;
        }
    } else {
        if (!lease_bytes(types, given[2], lease)) {
            return nullptr;
        }
        value = lease.data;
        length = lease.length;
    }
    const int set = value == &number ? number : -1;
    const bool good = warn_before_option(socket, level, option, set) &&
                      with_code(socket, [&](Backend& backend, Socket& core) {
                          return backend.set_option(core, level, option, value, length);
                      });
    lease.give_back();
    if (!good) {
        return nullptr;
    }
    note_option(socket, level, option, set);
    if (level == option_nodelay.level && option == option_nodelay.name && !note_nodelay(socket)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

// The options whose value is more than a number are Python's: iocp_sock.options.
template <class... Arguments>
PyObject* in_python(const char* function, Arguments... arguments) {
    PyObject* module = PyImport_ImportModule("iocp_sock.options");
    PyObject* name = module != nullptr ? PyUnicode_FromString(function) : nullptr;
    PyObject* result =
        name != nullptr ? PyObject_CallMethodObjArgs(module, name, arguments..., nullptr) : nullptr;
    Py_XDECREF(name);
    Py_XDECREF(module);
    return result;
}

struct Typed {
    const char* get;
    const char* set;
};
Typed keep_alive{"get_keep_alive", "set_keep_alive"};
Typed linger{"get_linger", "set_linger"};
Typed reuse_port{"get_reuse_port", "set_reuse_port"};

PyObject* get_typed(PyObject* self, void* typed) {
    return in_python(static_cast<Typed*>(typed)->get, self);
}

int set_typed(PyObject* self, PyObject* given, void* typed) {
    if (given == nullptr) {
        raise(*self_of(self).binding->types, ErrorClass::argument_type, EINVAL,
              "an option of a socket cannot be deleted");
        return -1;
    }
    PyObject* result = in_python(static_cast<Typed*>(typed)->set, self, given);
    Py_XDECREF(result);
    return result != nullptr ? 0 : -1;
}

// From here on others hold the descriptor too.
PyObject* duplicate(PyObject* self, PyObject* /*unused*/) {
    const bool open = with_open(self_of(self), [](Socket& core) {
        core.shared = true;
        return Error{};
    });
    return open ? in_python("duplicate", self) : nullptr;
}

PyObject* bind(PyObject* self, PyObject* given) {
    SocketObject& socket = self_of(self);
    Address address;
    if (!to_address(*socket.binding->types, given, socket.family, address) ||
        !with_code(socket,
                   [&](Backend& backend, Socket& core) { return backend.bind(core, address); })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* listen(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    SocketObject& socket = self_of(self);
    int backlog = 1024;
    if (count > 1) {
        return raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
                     "listen() takes the backlog only");
    }
    if (count == 1 && !to_int(*socket.binding->types, given[0], "backlog", backlog)) {
        return nullptr;
    }
    if (!with_code(socket, [&](Backend& backend, Socket& core) {
            const int code = backend.listen(core, backlog < 0 ? 0 : backlog);
            core.listening = core.listening || code == 0;
            return code;
        })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

}  // namespace

PyMethodDef option_methods[] = {
    {"getsockname", guarded<getsockname>, METH_NOARGS,
     "getsockname() -> the socket's own address."},
    {"getpeername", guarded<getpeername>, METH_NOARGS, "getpeername() -> the peer's address."},
    {"getsockopt", fast(guarded<getsockopt>), METH_FASTCALL,
     "getsockopt(level, option[, length]) -> int, or bytes when a length is given."},
    {"setsockopt", fast(guarded<setsockopt>), METH_FASTCALL,
     "setsockopt(level, option, value) -> None; value is an int or a bytes-like object."},
    {"bind", guarded<bind>, METH_O, "bind(address) -> None, as socket.bind()."},
    {"listen", fast(guarded<listen>), METH_FASTCALL,
     "listen(backlog=1024) -> None, as socket.listen()."},
    {"duplicate", guarded<duplicate>, METH_NOARGS,
     "duplicate() -> socket.socket\n\nA second descriptor of the same socket, the caller's, for "
     "another process: multiprocessing sends it,\nor socket.send_fds() (SCM_RIGHTS) on Linux, or "
     "its share() (WSADuplicateSocket) on Windows. The\nconnection then ends with the last "
     "descriptor, or with shutdown(). What\nis set on one of the two holds for both, "
     "so its calls may not wait although gettimeout() is None.\nOn Windows the socket stays "
     "attached to this port: the other process has the calls that wait, but no\nport of its own "
     "adopts it. Raises SocketClosed, and OSError where the system has no descriptor left."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef option_properties[] = {
    {"keep_alive", guarded<get_typed>, guarded<set_typed>,
     "When a silent connection is asked whether its peer is still there: a KeepAlive, or None "
     "(SO_KEEPALIVE\noff, as the system makes sockets). Accepted sockets start as their listener. "
     "Raises ArgumentError on\na socket that is not TCP, and for numbers out of their range.",
     &keep_alive},
    {"linger", guarded<get_typed>, guarded<set_typed>,
     "None: what the system was given to send still goes after the descriptor is closed. 0: "
     "closing it resets\nthe connection (SO_LINGER). Seconds to wait are refused: the wait would "
     "stop the port; close(timeout)\nis for that.",
     &linger},
    {"reuse_port", guarded<get_typed>, guarded<set_typed>,
     "Whether other sockets may be bound to the same address, to share its connections "
     "(SO_REUSEPORT); set\nit before bind(). Raises ArgumentError where there is none (Windows).",
     &reuse_port},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace iocp::py
