// The properties of Socket for its kernel buffers and Nagle's algorithm: settings, and the values
// in effect (R18).
#include <cerrno>

#include "backend/families.hpp"
#include "backend/option.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

bool ask(SocketObject& socket, const Option& option, int& value) {
    return with_code(socket, [&](Backend& backend, Socket& core) {
        std::size_t length = sizeof value;
        return backend.get_option(core, option.level, option.name, &value, length);
    });
}

int tell(SocketObject& socket, const Option& option, int value) {
    const bool good = with_code(socket, [&](Backend& backend, Socket& core) {
        return backend.set_option(core, option.level, option.name, &value, sizeof value);
    });
    return good ? 0 : -1;
}

int refuse(const SocketObject& socket, ErrorClass which, const char* text) {
    raise(*socket.binding->types, which, EINVAL, text);
    return -1;
}

PyObject* get_size(PyObject* self, const Option& option) {
    int bytes = 0;
    return ask(socket_of(self), option, bytes) ? PyLong_FromLong(bytes) : nullptr;
}

int set_size(PyObject* self, PyObject* given, const Option& option) {
    static constexpr const char* wanted =
        "the size of a kernel buffer must be an int, 0 or more (bytes)";
    SocketObject& socket = socket_of(self);
    if (given == nullptr || PyBool_Check(given) || !PyLong_Check(given)) {
        return refuse(socket, ErrorClass::argument_type, wanted);
    }
    int bytes = 0;
    if (!to_int(*socket.binding->types, given, "the size of a kernel buffer", bytes)) {
        return -1;
    }
    if (bytes < 0) {
        return refuse(socket, ErrorClass::argument, wanted);
    }
    if (!warn_before_option(socket, option.level, option.name, bytes) ||
        tell(socket, option, bytes) != 0) {
        return -1;
    }
    note_option(socket, option.level, option.name, bytes);
    return 0;
}

PyObject* get_send_buffer(PyObject* self, void* /*unused*/) {
    return get_size(self, option_send_buffer);
}
int set_send_buffer(PyObject* self, PyObject* given, void* /*unused*/) {
    return set_size(self, given, option_send_buffer);
}
PyObject* get_receive_buffer(PyObject* self, void* /*unused*/) {
    return get_size(self, option_receive_buffer);
}
int set_receive_buffer(PyObject* self, PyObject* given, void* /*unused*/) {
    return set_size(self, given, option_receive_buffer);
}

// Returns whether the socket has Nagle's algorithm, which only TCP has, and raises if not. On other
// sockets TCP_NODELAY fails with errors of many kinds.
bool has_nagle(const SocketObject& socket) {
    if (socket.type == type_stream &&
        (socket.family == family_inet || socket.family == family_inet6)) {
        return true;
    }
    refuse(socket, ErrorClass::argument,
           "nodelay needs a TCP socket; on this socket no send waits for an acknowledgement");
    return false;
}

PyObject* get_nodelay(PyObject* self, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    int on = 0;
    return has_nagle(socket) && ask(socket, option_nodelay, on) ? PyBool_FromLong(on) : nullptr;
}

int set_nodelay(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    if (given == nullptr || !PyBool_Check(given)) {
        return refuse(socket, ErrorClass::argument_type, "nodelay must be True or False");
    }
    const int on = given == Py_True ? 1 : 0;
    if (!has_nagle(socket) || tell(socket, option_nodelay, on) != 0) {
        return -1;
    }
    return note_nodelay(socket) ? 0 : -1;
}

}  // namespace

bool note_nodelay(SocketObject& socket) {
    return with_open(socket, [](Socket& core) {
        core.nagle = {};
        core.gives_nodelay = false;
        return Error{};
    });
}

PyGetSetDef tuning_properties[] = {
    {"send_buffer", guarded<get_send_buffer>, guarded<set_send_buffer>,
     "The size in bytes of the socket's send buffer in the kernel (SO_SNDBUF). Reading gives\n"
     "the size in effect. Linux takes twice the number set, for its own bookkeeping: at least\n"
     "4,608 (so 0 reads 4608) and at most twice net.core.wmem_max. A TCP socket's buffer stops\n"
     "growing by itself once it is set. On Windows 0 sends from the caller's memory, whose\n"
     "pages are locked until the data is acknowledged. Set it before listen() for the sockets\n"
     "that the listener accepts.",
     nullptr},
    {"receive_buffer", guarded<get_receive_buffer>, guarded<set_receive_buffer>,
     "The size in bytes of the socket's receive buffer in the kernel (SO_RCVBUF). Reading\n"
     "gives the size in effect. Linux takes twice the number set: at least 2,304 (so 0 reads\n"
     "2304) and at most twice net.core.rmem_max. Set it before connect() or listen(), which\n"
     "fix the scale of TCP's window.",
     nullptr},
    {"nodelay", guarded<get_nodelay>, guarded<set_nodelay>,
     "Whether small segments leave at once (TCP_NODELAY). With False Nagle's algorithm is on:\n"
     "a small segment waits while another is unacknowledged. Sockets that the port makes start\n"
     "with PortConfig.nodelay, as do those that an adopted listener accepts. Other accepted\n"
     "sockets start with their listener's setting. Adopted sockets keep theirs. Raises\n"
     "ArgumentError on a socket that is not TCP.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace iocp::py
