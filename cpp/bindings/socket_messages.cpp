// The operations of a Socket that are more than bytes: whose they are, where they go, what comes
// along, and several buffers at once.
#include <cerrno>

#include "bindings/guarded.hpp"
#include "bindings/post.hpp"

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
                     "the buffers are empty; give at least one byte of room");
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
    what.kind = Kind::send;
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
    what.kind = Kind::send;
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
     "As recv(), and Operation.address is who sent it. Of a datagram socket each receive gets one "
     "datagram,\n"
     "which may be empty; one longer than nbytes is cut, and Operation.flags has MSG_TRUNC.\n"
     "An error that a datagram socket is told, such as ECONNREFUSED for an earlier datagram, "
     "completes one\n"
     "operation and ends nothing: the next receive goes on."},
    {"recvfrom_into", fast(guarded<recvfrom_into>), keywords_call,
     "recvfrom_into(buffer, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "As recv_into(), and Operation.address is who sent it."},
    {"recvmsg_into", fast(guarded<recvmsg_into>), keywords_call,
     "recvmsg_into(buffers, *, ancillary_size=0, flags=0, callback=None, timeout=None, event=None, "
     "routine=None) "
     "-> "
     "Operation\n\n"
     "Posts one receive scattered over 1 to 1024 writable buffers, filled in order; "
     "Operation.address is who\n"
     "sent it. ancillary_size: bytes of room for Operation.ancillary, as socket.CMSG_SPACE() "
     "counts them, up\n"
     "to 1 MiB; what has no room is cut, and Operation.flags has MSG_CTRUNC. With it, MSG_WAITALL "
     "has no\n"
     "effect. Linux only: elsewhere ArgumentError (EOPNOTSUPP)."},
    {"sendto", fast(guarded<sendto>), keywords_call,
     "sendto(data, address, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts one datagram to address, on a connected socket too. A host that is a name is looked "
     "up here\n"
     "and now, which blocks this call. A post may raise an error that an earlier datagram met "
     "(ECONNREFUSED):\n"
     "its own has not gone then, and the socket stays open."},
    {"sendmsg", fast(guarded<sendmsg>), keywords_call,
     "sendmsg(buffers, *, ancillary=None, flags=0, address=None, callback=None, timeout=None, "
     "event=None) -> "
     "Operation\n\n"
     "Posts one send gathered from 1 to 1024 bytes-like objects, in order; of a datagram socket "
     "it is one\n"
     "datagram. address: as for sendto(). ancillary: tuples (level, type, data) that go along, as "
     "in\n"
     "socket.sendmsg(); descriptors of SCM_RIGHTS stay open until the operation is done. Linux "
     "only:\n"
     "elsewhere ArgumentError (EOPNOTSUPP)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
