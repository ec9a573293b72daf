// The single operations of a Socket: arguments in, an Operation out.
#include <cerrno>

#include "bindings/address_argument.hpp"
#include "bindings/file.hpp"
#include "bindings/guarded.hpp"
#include "bindings/post.hpp"

namespace iocp::py {

namespace {

PyObject* recv(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<6> signature{
        "recv", {"nbytes", "flags", "callback", "timeout", "event", "routine"}, 1, 1};
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    std::array<PyObject*, 6> arguments{};
    Post what;
    if (!signature.parse(*port.types, given, count, keywords, arguments) ||
        !to_common(*port.types, arguments[1], &arguments[2], what) ||
        !to_routine(socket, arguments[5], what) || !to_block(port, arguments[0], what.lease)) {
        return nullptr;
    }
    what.kind = Kind::receive;
    what.hands_out_block = true;
    return posted(socket, what);
}

PyObject* recv_into(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<6> signature{
        "recv_into", {"buffer", "flags", "callback", "timeout", "event", "routine"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 6> arguments{};
    Post what;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[1], &arguments[2], what) ||
        !to_routine(socket, arguments[5], what) || !to_room(types, arguments[0], what.lease)) {
        return nullptr;
    }
    what.kind = Kind::receive;
    return posted(socket, what);
}

// Operations that take nothing but a callback and a timeout.
PyObject* post_bare(PyObject* self, Kind kind, const Signature<3>& signature,
                    PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 3> arguments{};
    Post what;
    what.kind = kind;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, &arguments[0], what)) {
        return nullptr;
    }
    return posted(socket, what);
}

PyObject* recv_zero(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<3> signature{"recv_zero", {"callback", "timeout", "event"}, 0, 0};
    return post_bare(self, Kind::zero_byte, signature, given, count, keywords);
}

PyObject* wait_writable(PyObject* self, PyObject* const* given, Py_ssize_t count,
                        PyObject* keywords) {
    static constexpr Signature<3> signature{
        "wait_writable", {"callback", "timeout", "event"}, 0, 0};
    return post_bare(self, Kind::writable, signature, given, count, keywords);
}

PyObject* accept(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<3> signature{"accept", {"callback", "timeout", "event"}, 0, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 3> arguments{};
    Post what;
    what.kind = Kind::accept;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, &arguments[0], what)) {
        return nullptr;
    }
    what.envelope = std::make_unique<Envelope>(Envelope::Way::receives);  // for the peer's address
    return posted(socket, what);
}

PyObject* send(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<6> signature{
        "send", {"data", "flags", "callback", "timeout", "event", "routine"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    Post what;
    what.kind = Kind::send;
    if (count == 1 && keywords == nullptr) {
        return lease_bytes(types, given[0], what.lease) ? posted(socket, what) : nullptr;
    }
    std::array<PyObject*, 6> arguments{};
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[1], &arguments[2], what) ||
        !to_routine(socket, arguments[5], what) || !lease_bytes(types, arguments[0], what.lease)) {
        return nullptr;
    }
    return posted(socket, what);
}

PyObject* send_file(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<6> signature{
        "send_file", {"file", "offset", "count", "callback", "timeout", "event"}, 3, 1};
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    std::array<PyObject*, 6> arguments{};
    Post what;
    what.kind = Kind::send;
    what.from_file = true;
    if (!signature.parse(*port.types, given, count, keywords, arguments) ||
        !to_common(*port.types, nullptr, &arguments[3], what) || !usable(port) ||
        !lease_file(port, arguments[0], arguments[1], arguments[2], what.lease)) {
        return nullptr;
    }
    return posted(socket, what);
}

PyObject* disconnect(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "disconnect", {"reuse", "callback", "timeout", "event"}, 0, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = Kind::disconnect;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, &arguments[1], what)) {
        return nullptr;
    }
    const int reuse = arguments[0] != nullptr ? PyObject_IsTrue(arguments[0]) : 0;
    if (reuse < 0) {
        return nullptr;
    }
    what.reuse = reuse != 0;
    return posted(socket, what);
}

PyObject* connect(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "connect", {"address", "callback", "timeout", "event"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = Kind::connect;
    auto address = std::make_unique<Address>();
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, &arguments[1], what) ||
        !to_address(types, arguments[0], socket.family, *address)) {
        return nullptr;
    }
    what.lease.data = reinterpret_cast<std::byte*>(address.get());
    what.lease.owner = address.release();
    what.lease.release = [](void* owner) { delete static_cast<Address*>(owner); };
    return posted(socket, what);
}

// A call that never leaves anything pending.
template <class Call>
bool try_now(SocketObject& socket, Call&& call) {
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return false;
    }
    const Error error = locked(port, [&]() -> Error {
        Socket* core = socket.core.get();
        if (core == nullptr) {
            return Error::of(Fault::socket_closed, "the socket is closed");
        }
        return call(*port.core, *core);
    });
    if (error) {
        raise(&port, *port.types, error);
        return false;
    }
    return true;
}

PyObject* try_recv(PyObject* self, PyObject* given) {
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    Lease block;
    if (!to_block(port, given, block)) {
        return nullptr;
    }
    Slice slice(static_cast<Region*>(block.owner), block.data, 0);
    std::int64_t got = -1;
    if (!try_now(socket, [&](Port& core, Socket& target) {
            return core.try_receive(target, block.data, block.length, got);
        })) {
        return nullptr;
    }
    if (got < 0) {
        Py_RETURN_NONE;
    }
    slice.shorten(static_cast<std::size_t>(got));
    return new_buffer(*port.types, std::move(slice));
}

PyObject* try_send(PyObject* self, PyObject* given) {
    SocketObject& socket = socket_of(self);
    Lease lease;
    std::int64_t went = 0;
    if (!lease_bytes(*socket.binding->types, given, lease)) {
        return nullptr;
    }
    const bool good = try_now(socket, [&](Port& core, Socket& target) {
        return core.try_send(target, lease.data, lease.length, went);
    });
    lease.give_back();
    return good ? PyLong_FromLongLong(went) : nullptr;
}

}  // namespace

PyMethodDef operation_methods[] = {
    {"recv", fast(guarded<recv>), keywords_call,
     "recv(nbytes, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a receive of at most nbytes (1 byte to 1 GiB) into a page-aligned block of the core;\n"
     "Operation.data is the Buffer received, empty at end of stream. While it is pending the "
     "block's\n"
     "pages are charged. timeout: seconds until it is cancelled with TimedOut. With MSG_WAITALL a "
     "stream's\n"
     "receive is done only when all nbytes are there, or at the end of the stream, an error or a "
     "cancel;\n"
     "transferred and data then tell what came before. MSG_PEEK and MSG_OOB take MSG_WAITALL's "
     "effect away.\n"
     "Raises ArgumentError, SocketClosed, BudgetExceeded, ResourceExhausted."},
    {"recv_into", fast(guarded<recv_into>), keywords_call,
     "recv_into(buffer, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a receive into the caller's writable, contiguous buffer (at least 1 byte), which is "
     "held\n"
     "until the completion: a bytearray cannot be resized meanwhile. Charged: every page the "
     "buffer\n"
     "touches."},
    {"wait_writable", fast(guarded<wait_writable>), keywords_call,
     "wait_writable(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Completes when there is room to send, or an error to be had from a send; holds no memory and "
     "charges\nnothing. It follows the sends posted before it. try_send() then takes what fits. "
     "Linux: a poll; Windows:\na poll of AFD, the socket layer."},
    {"recv_zero", fast(guarded<recv_zero>), keywords_call,
     "recv_zero(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Zero-byte receive: completes when data, end of stream or an error is there, and leaves it "
     "in\n"
     "place. It locks and charges nothing, and by itself says nothing about the end of the "
     "stream."},
    {"send", fast(guarded<send>), keywords_call,
     "send(data, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a send of all of data, a contiguous bytes-like object that is held, not copied, until "
     "the\n"
     "completion. On a stream, sends go out whole and in posting order; with a subscription "
     "standing\n"
     "they are gathered and go out together once per turn. Charged: every page of what is still "
     "to\n"
     "go."},
    {"send_file", fast(guarded<send_file>), keywords_call,
     "send_file(file, offset=0, count=None, *, callback=None, timeout=None, event=None) -> "
     "Operation\n\n"
     "Posts a send of count bytes of a regular file from offset on, or of what the file has of "
     "them "
     "now;\n"
     "None: up to its end. In order with the other sends of the stream, whole or with an error and "
     "the\n"
     "count that went; a file that was cut meanwhile ends it early, without an error. file: a "
     "path, "
     "a\n"
     "descriptor of Python's, or an object with fileno(), whose own buffer and position play no "
     "part. It\n"
     "is held open until the completion, and nothing is charged: no memory of the program is "
     "locked.\n"
     "Linux: sendfile(2), which waits for the disk where the file is not in memory; Windows: "
     "TransmitFile.\n"
     "Raises ArgumentError (not a regular file, not a stream), and OSError as open() does."},
    {"disconnect", fast(guarded<disconnect>), keywords_call,
     "disconnect(*, reuse=False, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Ends the connection of a stream behind the sends posted before it, and keeps the socket. On "
     "Linux it\n"
     "completes when the peer has ended its direction too; on Windows DisconnectEx says when. What "
     "the peer\n"
     "still sends can be received meanwhile. reuse: the socket is then as one that was just "
     "opened, "
     "and\n"
     "can connect, or listen, again; no receive may be outstanding, and what was not received is "
     "gone.\n"
     "Linux: connect(2) with AF_UNSPEC, of AF_INET and AF_INET6 alone; Windows: TF_REUSE_SOCKET.\n"
     "Raises ArgumentError (no connection, no such reuse), SocketClosed."},
    {"connect", fast(guarded<connect>), keywords_call,
     "connect(address, *, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Posts a connect. Sends posted behind it wait for it. A host that is a name is looked up here "
     "and\n"
     "now, which blocks this call."},
    {"accept", fast(guarded<accept>), keywords_call,
     "accept(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Posts one accept; Operation.accepted is the new Socket, and Operation.address that of its "
     "peer, which\ngetpeername() does not tell of a connection that was reset meanwhile."},
    {"try_recv", guarded<try_recv>, METH_O,
     "try_recv(nbytes) -> Buffer | None\n\nReceives what is there, at most nbytes; None: nothing "
     "is, "
     "or posted receives come first. Never pending."},
    {"try_send", guarded<try_send>, METH_O,
     "try_send(data) -> int\n\nSends what the system takes at once and returns how many bytes; 0: "
     "none, or posted sends come first. Never pending."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
