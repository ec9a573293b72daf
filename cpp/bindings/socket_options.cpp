// The addresses and the options of a Socket.
#include <cerrno>

#include "backend/option.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/lease.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

PyObject* name(PyObject* self, bool peer) {
    Address address;
    if (!with_code(socket_of(self), [&](Backend& backend, Socket& core) {
            return backend.name_of(core, peer, address);
        })) {
        return nullptr;
    }
    return from_address(address);
}
PyObject* getsockname(PyObject* self, PyObject* /*unused*/) { return name(self, false); }
PyObject* getpeername(PyObject* self, PyObject* /*unused*/) { return name(self, true); }

PyObject* getsockopt(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    if (count < 2 || count > 3) {
        return raise(types, ErrorClass::argument_type, EINVAL,
                     "getsockopt() needs level, option and, for a result in bytes, its length");
    }
    int level = 0;
    int option = 0;
    Py_ssize_t wanted = 0;
    if (!to_int(types, given[0], "level", level) || !to_int(types, given[1], "option", option) ||
        (count == 3 && !to_size(types, given[2], "length", 0, wanted))) {
        return nullptr;
    }
    if (wanted > 1024) {
        return raise(types, ErrorClass::argument, EINVAL, "length must be at most 1024 bytes");
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
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    int level = 0;
    int option = 0;
    if (count != 3) {
        return raise(types, ErrorClass::argument_type, EINVAL,
                     "setsockopt() needs level, option and a value (int or bytes-like)");
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

// Calls a function of iocp_sock.options, which implements the options whose value is more than a
// number.
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
        raise(*socket_of(self).binding->types, ErrorClass::argument_type, EINVAL,
              "an option of a socket cannot be deleted; set it to another value");
        return -1;
    }
    PyObject* result = in_python(static_cast<Typed*>(typed)->set, self, given);
    Py_XDECREF(result);
    return result != nullptr ? 0 : -1;
}

// Marks the socket as shared, because the holder of the second descriptor may change the blocking
// mode at any time, and still needs a bound path after this socket is closed.
PyObject* duplicate(PyObject* self, PyObject* /*unused*/) {
    const bool open = with_open(socket_of(self), [](Socket& core) {
        core.shared = true;
        return Error{};
    });
    return open ? in_python("duplicate", self) : nullptr;
}

// Refuses a call that would change a watched descriptor, which belongs to the caller. False: an
// exception is set.
bool refuse_watched(SocketObject& socket) {
    return with_open(socket, [](Socket& core) { return core.watched ? only_watched : Error{}; });
}

PyObject* bind(PyObject* self, PyObject* given) {
    SocketObject& socket = socket_of(self);
    Address address;
    if (!to_address(*socket.binding->types, given, socket.family, address) ||
        !refuse_watched(socket) || !with_code(socket, [&](Backend& backend, Socket& core) {
            return backend.bind(core, address);
        })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* listen(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    SocketObject& socket = socket_of(self);
    int backlog = 1024;
    if (count > 1) {
        return raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
                     "listen() takes at most one argument, the backlog");
    }
    if (count == 1 && !to_int(*socket.binding->types, given[0], "backlog", backlog)) {
        return nullptr;
    }
    if (!refuse_watched(socket) || !with_code(socket, [&](Backend& backend, Socket& core) {
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
     "getsockname() -> address\n\n"
     "Returns the socket's own address."},
    {"getpeername", guarded<getpeername>, METH_NOARGS,
     "getpeername() -> address\n\n"
     "Returns the peer's address."},
    {"getsockopt", fast(guarded<getsockopt>), METH_FASTCALL,
     "getsockopt(level, option[, length]) -> int | bytes\n\n"
     "Returns an option's value: an int, or bytes when a length is given."},
    {"setsockopt", fast(guarded<setsockopt>), METH_FASTCALL,
     "setsockopt(level, option, value) -> None\n\n"
     "Sets an option. value is an int or a bytes-like object."},
    {"bind", guarded<bind>, METH_O,
     "bind(address) -> None\n\n"
     "Binds the socket, as socket.bind() does."},
    {"listen", fast(guarded<listen>), METH_FASTCALL,
     "listen(backlog=1024) -> None\n\n"
     "Starts to listen, as socket.listen() does."},
    {"duplicate", guarded<duplicate>, METH_NOARGS,
     "duplicate() -> socket.socket\n\n"
     "Makes a second descriptor of the same socket for another process; the caller owns it.\n"
     "Send it with multiprocessing, with socket.send_fds() (SCM_RIGHTS) on Linux, or with its\n"
     "share() (WSADuplicateSocket) on Windows. The connection then ends with the last\n"
     "descriptor, or with shutdown(). Both descriptors share their settings, so its calls may\n"
     "return without waiting although gettimeout() is None. On Windows the socket stays\n"
     "attached to this port: the other process can use the blocking calls, but no port of its\n"
     "own can adopt it. Raises SocketClosed, and OSError if the system has no descriptor left."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef option_properties[] = {
    {"keep_alive", guarded<get_typed>, guarded<set_typed>,
     "When the system probes a silent connection's peer: a KeepAlive, or None (SO_KEEPALIVE\n"
     "off, as the system makes sockets). Accepted sockets start with their listener's setting.\n"
     "Raises ArgumentError on a socket that is not TCP, and for numbers out of their range.",
     &keep_alive},
    {"linger", guarded<get_typed>, guarded<set_typed>,
     "The use of SO_LINGER. None: data that the system already has is still sent after the\n"
     "descriptor is closed. 0: closing the descriptor resets the connection. A number of\n"
     "seconds raises an error, because the wait would stop the port; use close(timeout).",
     &linger},
    {"reuse_port", guarded<get_typed>, guarded<set_typed>,
     "Whether other sockets may be bound to the same address and share its connections\n"
     "(SO_REUSEPORT). Set it before bind(). Raises ArgumentError on Windows, which lacks the\n"
     "option.",
     &reuse_port},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace iocp::py
