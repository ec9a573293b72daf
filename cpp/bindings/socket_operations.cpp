// The methods of Socket that post single operations. Each converts its arguments and returns an
// Operation.
#include <cerrno>

#include "bindings/address_argument.hpp"
#include "bindings/buffer_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/file.hpp"
#include "bindings/guarded.hpp"
#include "bindings/lease.hpp"
#include "bindings/port_object.hpp"
#include "bindings/post.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

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
    what.kind = OperationKind::receive;
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
    what.kind = OperationKind::receive;
    return posted(socket, what);
}

// Posts an operation that takes only a callback, a timeout and an event.
PyObject* post_bare(PyObject* self, OperationKind kind, const Signature<3>& signature,
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
    return post_bare(self, OperationKind::zero_byte, signature, given, count, keywords);
}

PyObject* wait_writable(PyObject* self, PyObject* const* given, Py_ssize_t count,
                        PyObject* keywords) {
    static constexpr Signature<3> signature{
        "wait_writable", {"callback", "timeout", "event"}, 0, 0};
    return post_bare(self, OperationKind::writable, signature, given, count, keywords);
}

PyObject* accept(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<3> signature{"accept", {"callback", "timeout", "event"}, 0, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 3> arguments{};
    Post what;
    what.kind = OperationKind::accept;
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
    what.kind = OperationKind::send;
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
    static constexpr Signature<7> signature{
        "send_file",
        {"file", "offset", "count", "callback", "timeout", "event", "_divisible"},
        3,
        1};
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    std::array<PyObject*, 7> arguments{};
    Post what;
    what.kind = OperationKind::send;
    what.from_file = true;
    if (!signature.parse(*port.types, given, count, keywords, arguments) ||
        !to_common(*port.types, nullptr, &arguments[3], what) || !usable(port) ||
        !lease_file(port, arguments[0], arguments[1], arguments[2], what.lease)) {
        return nullptr;
    }
    what.divisible = arguments[6] == Py_True;
    return posted(socket, what);
}

PyObject* disconnect(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "disconnect", {"reuse", "callback", "timeout", "event"}, 0, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = OperationKind::disconnect;
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
    what.kind = OperationKind::connect;
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

// Makes a call on the core's socket that finishes at once, so that no operation is ever pending.
// False: an exception is set.
template <class Call>
bool try_now(SocketObject& socket, Call&& call) {
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return false;
    }
    const Error error = locked(port, [&]() -> Error {
        Socket* core = socket.core.get();
        if (core == nullptr) {
            return socket_is_closed;
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
            return core.operations().try_receive(target, block.data, block.length, got);
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
        return core.operations().try_send(target, lease.data, lease.length, went);
    });
    lease.give_back();
    return good ? PyLong_FromLongLong(went) : nullptr;
}

}  // namespace

PyMethodDef operation_methods[] = {
    {"recv", fast(guarded<recv>), keywords_call,
     "recv(nbytes, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a receive of at most nbytes (1 byte to 1 GiB) into a page-aligned block of the\n"
     "core. Operation.data is the received Buffer, empty at the end of the stream. While the\n"
     "receive is pending, the block's pages are charged. After timeout seconds it is cancelled\n"
     "with TimedOut. With MSG_WAITALL a stream's receive is done only when all nbytes are\n"
     "there, or at the end of the stream, an error or a cancel. transferred and data then give\n"
     "the part that came before. MSG_PEEK and MSG_OOB cancel the effect of MSG_WAITALL. Raises\n"
     "ArgumentError, SocketClosed, BudgetExceeded, ResourceExhausted."},
    {"recv_into", fast(guarded<recv_into>), keywords_call,
     "recv_into(buffer, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a receive into the caller's writable, contiguous buffer of at least 1 byte. The\n"
     "operation holds the buffer until the completion: a bytearray cannot be resized\n"
     "meanwhile. Every page that the buffer touches is charged."},
    {"wait_writable", fast(guarded<wait_writable>), keywords_call,
     "wait_writable(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Completes when there is room to send, or when a send would fail. It holds no memory and\n"
     "charges nothing. It follows the sends posted before it. try_send() then sends as much as\n"
     "fits. Linux: a poll; Windows: a poll of AFD, the socket layer."},
    {"recv_zero", fast(guarded<recv_zero>), keywords_call,
     "recv_zero(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Posts a zero-byte receive, which completes when data, the end of the stream or an error\n"
     "is there, and leaves it in place. It locks and charges nothing. It does not itself\n"
     "report the end of the stream."},
    {"send", fast(guarded<send>), keywords_call,
     "send(data, *, flags=0, callback=None, timeout=None, event=None, routine=None) -> "
     "Operation\n\n"
     "Posts a send of all of data, a contiguous bytes-like object. The operation holds it,\n"
     "without a copy, until the completion. A stream sends whole objects in posting order.\n"
     "With a subscription, sends are gathered and go out together once per turn. Every page of\n"
     "the bytes still to send is charged."},
    {"send_file", fast(guarded<send_file>), keywords_call,
     "send_file(file, offset=0, count=None, *, callback=None, timeout=None, event=None) -> "
     "Operation\n\n"
     "Posts a send of a part of a regular file: count bytes from offset on, or fewer if the\n"
     "file ends now before that (None: up to its end). It keeps its order among the sends of\n"
     "the stream. It goes out whole, or ends with an error and the count sent. If the file is\n"
     "truncated meanwhile, it ends early without an error. file is a path, a descriptor of\n"
     "Python, or an object with fileno(), whose own buffer and position are ignored. The core\n"
     "keeps the file open until the completion. It charges nothing, because no memory of the\n"
     "program is locked. Linux: sendfile(2), which waits for the disk if the file is not in\n"
     "memory; Windows: TransmitFile. Raises ArgumentError (not a regular file, not a stream),\n"
     "and OSError as open() does."},
    {"disconnect", fast(guarded<disconnect>), keywords_call,
     "disconnect(*, reuse=False, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Ends the connection of a stream behind the sends posted before it, and keeps the socket.\n"
     "On Linux it completes when the peer has ended its direction too; on Windows DisconnectEx\n"
     "decides. Data that the peer still sends can be received meanwhile. With reuse the socket\n"
     "is then like a new one, and can connect or listen again. No receive may be outstanding\n"
     "for that, and data that was not received is lost. reuse uses connect(2) with AF_UNSPEC\n"
     "on Linux (AF_INET and AF_INET6 only) and TF_REUSE_SOCKET on Windows. Raises\n"
     "ArgumentError (no connection, or no reuse for this socket), SocketClosed."},
    {"connect", fast(guarded<connect>), keywords_call,
     "connect(address, *, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Posts a connect. Sends posted behind it wait for it. A host that is a name is looked up\n"
     "now, which blocks this call."},
    {"accept", fast(guarded<accept>), keywords_call,
     "accept(*, callback=None, timeout=None, event=None) -> Operation\n\n"
     "Posts one accept. Operation.accepted is the new Socket, and Operation.address its peer's\n"
     "address, even for a connection that was reset since, where getpeername() fails."},
    {"try_recv", guarded<try_recv>, METH_O,
     "try_recv(nbytes) -> Buffer | None\n\n"
     "Receives at most nbytes of the data that is there. None: there is no data, or posted\n"
     "receives come first. Nothing is ever pending."},
    {"try_send", guarded<try_send>, METH_O,
     "try_send(data) -> int\n\n"
     "Sends as much as the system takes at once, and returns the number of bytes. 0: it takes\n"
     "none, or posted sends come first. Nothing is ever pending."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
