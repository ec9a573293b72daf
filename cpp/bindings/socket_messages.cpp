// The operations of a Socket with addresses, ancillary data or several buffers.
#include <cerrno>

#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/lease.hpp"
#include "bindings/port_object.hpp"
#include "bindings/post.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

using Way = Envelope::Way;

PyObject* recvfrom(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<6> signature{
        "recvfrom", {"nbytes", "flags", "callback", "timeout", "event", "routine"}, 1, 1};
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    std::array<PyObject*, 6> arguments{};
    Post what;
    what.envelope = std::make_unique<Envelope>(Way::receives);
    Lease block;
    if (!signature.parse(*port.types, given, count, keywords, arguments) ||
        !to_common(*port.types, arguments[1], &arguments[2], what) ||
        !to_routine(socket, arguments[5], what) || !to_block(port, arguments[0], block)) {
        return nullptr;
    }
    what.envelope->enclose(block);
    what.hands_out_block = true;
    return posted(socket, what);
}

PyObject* recvfrom_into(PyObject* self, PyObject* const* given, Py_ssize_t count,
                        PyObject* keywords) {
    static constexpr Signature<6> signature{
        "recvfrom_into", {"buffer", "flags", "callback", "timeout", "event", "routine"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 6> arguments{};
    Post what;
    what.envelope = std::make_unique<Envelope>(Way::receives);
    Lease lease;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[1], &arguments[2], what) ||
        !to_routine(socket, arguments[5], what) || !to_room(types, arguments[0], lease)) {
        return nullptr;
    }
    what.envelope->enclose(lease);
    return posted(socket, what);
}

PyObject* recvmsg_into(PyObject* self, PyObject* const* given, Py_ssize_t count,
                       PyObject* keywords) {
    static constexpr Signature<7> signature{
        "recvmsg_into",
        {"buffers", "ancillary_size", "flags", "callback", "timeout", "event", "routine"},
        1,
        1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 7> arguments{};
    Post what;
    what.envelope = std::make_unique<Envelope>(Way::receives);
    Envelope& envelope = *what.envelope;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[2], &arguments[3], what) ||
        !to_routine(socket, arguments[6], what) || !envelope.make_room(types, arguments[1]) ||
        !envelope.enclose_each(types, arguments[0])) {
        return nullptr;
    }
    if (envelope.empty()) {
        return raise(types, ErrorClass::argument, EINVAL,
                     "all buffers are empty; give at least one byte of room");
    }
    return posted(socket, what);
}

PyObject* sendto(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<7> signature{
        "sendto", {"data", "address", "flags", "callback", "timeout", "event", "routine"}, 2, 2};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 7> arguments{};
    Post what;
    what.kind = OperationKind::send;
    what.envelope = std::make_unique<Envelope>(Way::sends);
    Lease lease;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[2], &arguments[3], what) ||
        !to_routine(socket, arguments[6], what) ||
        !what.envelope->set_target(socket, arguments[1]) ||
        !lease_bytes(types, arguments[0], lease)) {
        return nullptr;
    }
    what.envelope->enclose(lease);
    return posted(socket, what);
}

PyObject* sendmsg(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<8> signature{
        "sendmsg",
        {"buffers", "ancillary", "flags", "address", "callback", "timeout", "event", "routine"},
        1,
        1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 8> arguments{};
    Post what;
    what.kind = OperationKind::send;
    what.envelope = std::make_unique<Envelope>(Way::sends);
    Envelope& envelope = *what.envelope;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[2], &arguments[4], what) ||
        !to_routine(socket, arguments[7], what) ||
        (is_given(arguments[1]) && !envelope.set_ancillary(types, arguments[1])) ||
        (is_given(arguments[3]) && !envelope.set_target(socket, arguments[3])) ||
        !envelope.enclose_each(types, arguments[0])) {
        return nullptr;
    }
    return posted(socket, what);
}

}  // namespace

PyMethodDef message_methods[] = {
    {"recvfrom", fast(guarded<recvfrom>), keywords_call,
     "recvfrom(nbytes, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Receives as recv() does; Operation.address is the sender's address. On a datagram socket\n"
     "each receive gets one datagram, which may be empty. A datagram longer than nbytes is\n"
     "truncated, and Operation.flags has MSG_TRUNC. An error that the system reports to a\n"
     "datagram socket, such as ECONNREFUSED for an earlier datagram, completes one operation.\n"
     "It ends nothing: the next receive goes on."},
    {"recvfrom_into", fast(guarded<recvfrom_into>), keywords_call,
     "recvfrom_into(buffer, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Receives as recv_into() does; Operation.address is the sender's address."},
    {"recvmsg_into", fast(guarded<recvmsg_into>), keywords_call,
     "recvmsg_into(buffers, *, ancillary_size=0, flags=0, callback=None, timeout=None, event=None, "
     "routine=None) -> Operation\n\n"
     "Posts one receive scattered over 1 to 1024 writable buffers, which are filled in order.\n"
     "Operation.address is the sender's address. ancillary_size is the maximum of\n"
     "Operation.ancillary: 0 to 1 MiB, in bytes, as socket.CMSG_SPACE() counts them. Longer\n"
     "ancillary data is truncated, and Operation.flags has MSG_CTRUNC. With ancillary_size\n"
     "MSG_WAITALL has no effect. Ancillary data needs Linux; elsewhere it raises ArgumentError\n"
     "(EOPNOTSUPP)."},
    {"sendto", fast(guarded<sendto>), keywords_call,
     "sendto(data, address, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts one datagram to address, also on a connected socket. A host that is a name is\n"
     "looked up now, which blocks this call. The post may raise an error of an earlier\n"
     "datagram (ECONNREFUSED). Its own datagram was then not sent, and the socket stays open."},
    {"sendmsg", fast(guarded<sendmsg>), keywords_call,
     "sendmsg(buffers, *, ancillary=None, flags=0, address=None, callback=None, timeout=None, "
     "event=None) -> Operation\n\n"
     "Posts one send gathered from 1 to 1024 bytes-like objects, in order. On a datagram\n"
     "socket it is one datagram; address is as for sendto(). ancillary is an iterable of\n"
     "tuples (level, type, data), as in socket.sendmsg(). Descriptors of SCM_RIGHTS must stay\n"
     "open until the operation is done. Ancillary data needs Linux; elsewhere it raises\n"
     "ArgumentError (EOPNOTSUPP)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
