// The names and the options of a Socket.
#include <cerrno>

#include "bindings/arguments.hpp"
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
    Py_RETURN_NONE;
}

PyObject* bind(PyObject* self, PyObject* given) {
    SocketObject& socket = self_of(self);
    Address address;
    if (!to_address(*socket.binding->types, given, socket.family, socket.type, address) ||
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
            return backend.listen(core, backlog < 0 ? 0 : backlog);
        })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

}  // namespace

PyMethodDef option_methods[] = {
    {"getsockname", getsockname, METH_NOARGS, "getsockname() -> the socket's own address."},
    {"getpeername", getpeername, METH_NOARGS, "getpeername() -> the peer's address."},
    {"getsockopt", fast(getsockopt), METH_FASTCALL,
     "getsockopt(level, option[, length]) -> int, or bytes when a length is given."},
    {"setsockopt", fast(setsockopt), METH_FASTCALL,
     "setsockopt(level, option, value) -> None; value is an int or a bytes-like object."},
    {"bind", bind, METH_O, "bind(address) -> None, as socket.bind()."},
    {"listen", fast(listen), METH_FASTCALL, "listen(backlog=1024) -> None, as socket.listen()."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
