// What a Socket posts: arguments in, an Operation out, and the core in between.
#include <cerrno>

#include "backend/families.hpp"
#include "bindings/arguments.hpp"

namespace iocp::py {

namespace {

SocketObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<SocketObject*>(self); }

struct Post {
    Kind kind{Kind::receive};
    Lease lease;
    std::uint16_t slices{0};
    int flags{0};
    std::int64_t timeout{-1};
    PyObject* callback{nullptr};
    bool hands_out_block{false};
    std::optional<Receive> strategy{Receive::pooled};  // none: adaptive
    std::uint32_t block_size{0};
};

// The core's operation is done and nobody is to hear of it: its result moves to the object, and its
// slot is free again. Called with the lock held, so without a word to Python.
void take_silent(Port& port, Operation& core, OperationObject& op, SocketObject*& connection) {
    op.settled = true;
    op.transferred = static_cast<Py_ssize_t>(core.transferred);
    if (core.accepted != nullptr) {
        attach(*connection, *std::exchange(core.accepted, nullptr));
        op.accepted = reinterpret_cast<PyObject*>(std::exchange(connection, nullptr));
    }
    core.lease = {};
    port.retire(core);
}

// Posts and returns a new reference to the Operation. The object is the port's before the core can
// complete the operation; a refused post leaves nothing behind.
OperationObject* post(SocketObject& socket, Post& what) {
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        what.lease.give_back();
        return nullptr;
    }
    OperationObject* op = new_operation(socket, what.kind, what.callback);
    if (op == nullptr) {
        what.lease.give_back();
        return nullptr;
    }
    op->hands_out_block = what.hands_out_block;
    SocketObject* connection = nullptr;
    if (what.kind == Kind::accept) {
        connection = blank_socket(socket.port, port);  // under the lock it could not be made
        if (connection == nullptr) {
            Py_DECREF(reinterpret_cast<PyObject*>(op));
            return nullptr;
        }
    }
    bool silent = false;
    const bool subscription = what.kind == Kind::receive_each || what.kind == Kind::accept_each;
    const bool kept = keep_subscription_objects || !subscription;
    auto* object = reinterpret_cast<PyObject*>(op);
    if (kept) {
        Py_INCREF(object);
        link(port, port.operations, *op);
    }
    const Error error = locked(port, [&]() -> Error {
        if (socket.core == nullptr) {
            return Error::of(Fault::socket_closed,
                             "the socket is closed; nothing more can be posted");
        }
        Operation* core = port.core->new_operation(*socket.core, what.kind);
        if (core == nullptr) {
            return Error::of(Fault::resource, "no memory for an operation");
        }
        core->lease = what.lease;
        core->slices = what.slices;
        core->flags = what.flags;
        core->strategy = what.strategy.value_or(Receive::zero_byte);
        core->adaptive = what.kind == Kind::receive_each && !what.strategy.has_value();
        core->block_size = what.block_size;
        core->user = op;
        // A socket with a subscription is used at the stream level, where sends share a flush.
        core->batched = what.kind == Kind::send && socket.subscribed && socket.core->stream;
        if (Error refused = port.core->submit(*core, what.timeout)) {
            core->lease = {};
            port.core->discard(*core);
            return refused;
        }
        op->outcome = core->outcome;
        op->sequence = core->sequence;
        silent = core->silent;
        if (silent) {
            take_silent(*port.core, *core, *op, connection);
        } else {
            op->core = core;
        }
        return {};
    });
    Py_XDECREF(reinterpret_cast<PyObject*>(connection));
    if ((error || silent) && kept && unlink(port, port.operations, *op)) {
        Py_DECREF(object);
    }
    if (error) {
        what.lease.give_back();
        Py_DECREF(object);
        raise(&port, *port.types, error);
        return nullptr;
    }
    if (silent) {
        if (what.hands_out_block) {
            assign(op->data, received_block(*port.types, what.lease,
                                            static_cast<std::size_t>(op->transferred)));
        }
        what.lease.give_back();
        Py_CLEAR(op->callback);
        PyErr_Clear();  // out of memory for the result itself
    } else if (op->outcome == Outcome::done) {
        settle(*op);
    }
    return op;
}

PyObject* posted(SocketObject& socket, Post& what) {
    return reinterpret_cast<PyObject*>(post(socket, what));
}

// What every single operation takes beside its data.
bool to_common(const Types& types, PyObject* flags, PyObject* callback, PyObject* timeout,
               Post& what) {
    return to_int(types, flags, "flags", what.flags) &&
           to_callback(types, callback, what.callback) && to_timeout(types, timeout, what.timeout);
}

PyObject* recv(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "recv", {"nbytes", "flags", "callback", "timeout"}, 1, 1};
    SocketObject& socket = self_of(self);
    PortObject& port = *socket.binding;
    std::array<PyObject*, 4> arguments{};
    Post what;
    Py_ssize_t size = 0;
    if (!signature.parse(*port.types, given, count, keywords, arguments) ||
        !to_size(*port.types, arguments[0], "nbytes", 1, size) ||
        !to_common(*port.types, arguments[1], arguments[2], arguments[3], what) || !usable(port)) {
        return nullptr;
    }
    if (size == 0) {
        return raise(*port.types, ErrorClass::argument_type, EINVAL, "nbytes is an int from 1");
    }
    Region* block = port.pool->take(static_cast<std::size_t>(size));
    if (block == nullptr) {
        return PyErr_NoMemory();
    }
    what.kind = Kind::receive;
    what.lease = {block->data(), static_cast<std::size_t>(size), block,
                  [](void* owner) { static_cast<Region*>(owner)->drop_reference(); }};
    what.hands_out_block = true;
    return posted(socket, what);
}

PyObject* recv_into(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "recv_into", {"buffer", "flags", "callback", "timeout"}, 1, 1};
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[1], arguments[2], arguments[3], what) ||
        !lease_writable(types, arguments[0], what.lease)) {
        return nullptr;
    }
    if (what.lease.length == 0) {
        what.lease.give_back();
        return raise(types, ErrorClass::argument, EINVAL,
                     "the buffer is empty; give at least one byte, or post recv_zero()");
    }
    what.kind = Kind::receive;
    return posted(socket, what);
}

// Operations that take nothing but a callback and a timeout.
PyObject* post_bare(PyObject* self, Kind kind, const Signature<2>& signature,
                    PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 2> arguments{};
    Post what;
    what.kind = kind;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, arguments[0], arguments[1], what)) {
        return nullptr;
    }
    return posted(socket, what);
}

PyObject* recv_zero(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<2> signature{"recv_zero", {"callback", "timeout"}, 0, 0};
    return post_bare(self, Kind::zero_byte, signature, given, count, keywords);
}

PyObject* wait_writable(PyObject* self, PyObject* const* given, Py_ssize_t count,
                        PyObject* keywords) {
    static constexpr Signature<2> signature{"wait_writable", {"callback", "timeout"}, 0, 0};
    return post_bare(self, Kind::writable, signature, given, count, keywords);
}

PyObject* accept(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<2> signature{"accept", {"callback", "timeout"}, 0, 0};
    return post_bare(self, Kind::accept, signature, given, count, keywords);
}

// send() and sendmsg() differ only in how their memory is leased.
template <class LeaseIt>
PyObject* send_leased(PyObject* self, const Signature<4>& signature, PyObject* const* given,
                      Py_ssize_t count, PyObject* keywords, LeaseIt&& lease_it) {
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    Post what;
    what.kind = Kind::send;
    if (count == 1 && keywords == nullptr) {
        return lease_it(types, given[0], what) ? posted(socket, what) : nullptr;
    }
    std::array<PyObject*, 4> arguments{};
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, arguments[1], arguments[2], arguments[3], what) ||
        !lease_it(types, arguments[0], what)) {
        return nullptr;
    }
    return posted(socket, what);
}

PyObject* send(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{"send", {"data", "flags", "callback", "timeout"}, 1, 1};
    return send_leased(self, signature, given, count, keywords,
                       [](const Types& types, PyObject* data, Post& what) {
                           return lease_bytes(types, data, what.lease);
                       });
}

PyObject* sendmsg(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "sendmsg", {"buffers", "flags", "callback", "timeout"}, 1, 1};
    return send_leased(self, signature, given, count, keywords,
                       [](const Types& types, PyObject* buffers, Post& what) {
                           return lease_gathered(types, buffers, what.lease, what.slices);
                       });
}

PyObject* connect(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<3> signature{"connect", {"address", "callback", "timeout"}, 1, 1};
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 3> arguments{};
    Post what;
    what.kind = Kind::connect;
    auto address = std::make_unique<Address>();
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_common(types, nullptr, arguments[1], arguments[2], what) ||
        !to_address(types, arguments[0], socket.family, socket.type, *address)) {
        return nullptr;
    }
    what.lease.data = reinterpret_cast<std::byte*>(address.get());
    what.lease.owner = address.release();
    what.lease.release = [](void* owner) { delete static_cast<Address*>(owner); };
    return posted(socket, what);
}

// A subscription: the port keeps the Socket, and the Socket its callbacks, while it stands.
PyObject* subscribe(SocketObject& socket, Post& what, PyObject* on_item, PyObject* on_close,
                    PyObject* on_error) {
    PortObject& port = *socket.binding;
    if (socket.subscribed) {
        return raise(*port.types, ErrorClass::argument, EINVAL,
                     "a subscription stands on this socket already; cancel it first");
    }
    if (on_item == nullptr) {
        return raise(*port.types, ErrorClass::argument_type, EINVAL,
                     "a subscription needs a callback to give its results to");
    }
    auto* self = reinterpret_cast<PyObject*>(&socket);
    PyObject* before_item = std::exchange(socket.on_item, Py_NewRef(on_item));
    PyObject* before_close = std::exchange(socket.on_close, Py_XNewRef(on_close));
    PyObject* before_error = std::exchange(socket.on_error, Py_XNewRef(on_error));
    socket.subscribed = true;
    const bool linked = !socket.links.linked;
    if (linked) {
        Py_INCREF(self);
        link(port, port.sockets, socket);
    }
    PyObject* op = posted(socket, what);
    if (op == nullptr) {
        PyObject* raised = PyErr_GetRaisedException();
        std::swap(socket.on_item, before_item);
        std::swap(socket.on_close, before_close);
        std::swap(socket.on_error, before_error);
        socket.subscribed = false;
        if (linked && !socket.ending && unlink(port, port.sockets, socket)) {
            Py_DECREF(self);
        }
        PyErr_SetRaisedException(raised);
    }
    Py_XDECREF(before_item);
    Py_XDECREF(before_close);
    Py_XDECREF(before_error);
    return op;
}

PyObject* accept_each(PyObject* self, PyObject* const* given, Py_ssize_t count,
                      PyObject* keywords) {
    static constexpr Signature<2> signature{"accept_each", {"callback", "on_error"}, 1, 1};
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 2> arguments{};
    Post what;
    what.kind = Kind::accept_each;
    PyObject* on_item = nullptr;
    PyObject* on_error = nullptr;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) || !to_callback(types, arguments[1], on_error)) {
        return nullptr;
    }
    return subscribe(socket, what, on_item, nullptr, on_error);
}

PyObject* receive(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "receive", {"callback", "receive", "size", "on_close"}, 1, 1};
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = Kind::receive_each;
    PyObject* on_item = nullptr;
    PyObject* on_close = nullptr;
    Py_ssize_t size = 4096;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) ||
        !to_strategy(types, arguments[1], what.strategy) ||
        !to_size(types, arguments[2], "size", 1, size) ||
        !to_callback(types, arguments[3], on_close)) {
        return nullptr;
    }
    what.block_size = static_cast<std::uint32_t>(size);
    return subscribe(socket, what, on_item, on_close, nullptr);
}

// A call that never leaves anything pending.
template <class Call>
bool try_now(SocketObject& socket, Call&& call) {
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return false;
    }
    const Error error = locked(port, [&]() -> Error {
        if (socket.core == nullptr) {
            return Error::of(Fault::socket_closed, "the socket is closed");
        }
        return call(*port.core, *socket.core);
    });
    if (error) {
        raise(&port, *port.types, error);
        return false;
    }
    return true;
}

PyObject* try_recv(PyObject* self, PyObject* given) {
    SocketObject& socket = self_of(self);
    PortObject& port = *socket.binding;
    Py_ssize_t size = 0;
    if (!to_size(*port.types, given, "nbytes", 1, size) || !usable(port)) {
        return nullptr;
    }
    if (size == 0) {
        return raise(*port.types, ErrorClass::argument_type, EINVAL, "nbytes is an int from 1");
    }
    Region* block = port.pool->take(static_cast<std::size_t>(size));
    if (block == nullptr) {
        return PyErr_NoMemory();
    }
    Slice slice(block, block->data(), 0);
    std::int64_t got = -1;
    if (!try_now(socket, [&](Port& core, Socket& target) {
            return core.try_receive(target, block->data(), static_cast<std::size_t>(size), got);
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
    SocketObject& socket = self_of(self);
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

constexpr int keywords_call = METH_FASTCALL | METH_KEYWORDS;

}  // namespace

PyMethodDef operation_methods[] = {
    {"recv", fast(recv), keywords_call,
     "recv(nbytes, *, flags=0, callback=None, timeout=None) -> Operation\n\n"
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
    {"recv_into", fast(recv_into), keywords_call,
     "recv_into(buffer, *, flags=0, callback=None, timeout=None) -> Operation\n\n"
     "Posts a receive into the caller's writable, contiguous buffer (at least 1 byte), which is "
     "held\n"
     "until the completion: a bytearray cannot be resized meanwhile. Charged: every page the "
     "buffer\n"
     "touches."},
    {"wait_writable", fast(wait_writable), keywords_call,
     "wait_writable(*, callback=None, timeout=None) -> Operation\n\n"
     "Completes when there is room to send, or an error to be had from a send; holds no memory and "
     "charges\nnothing. It follows the sends posted before it. try_send() then takes what fits. "
     "Linux: a poll; Windows:\na poll of AFD, the socket layer."},
    {"recv_zero", fast(recv_zero), keywords_call,
     "recv_zero(*, callback=None, timeout=None) -> Operation\n\n"
     "Zero-byte receive: completes when data, end of stream or an error is there, and leaves it "
     "in\n"
     "place. It locks and charges nothing, and by itself says nothing about the end of the "
     "stream."},
    {"send", fast(send), keywords_call,
     "send(data, *, flags=0, callback=None, timeout=None) -> Operation\n\n"
     "Posts a send of all of data, a contiguous bytes-like object that is held, not copied, until "
     "the\n"
     "completion. On a stream, sends go out whole and in posting order; with a subscription "
     "standing\n"
     "they are gathered and go out together once per turn. Charged: every page of what is still "
     "to\n"
     "go."},
    {"sendmsg", fast(sendmsg), keywords_call,
     "sendmsg(buffers, *, flags=0, callback=None, timeout=None) -> Operation\n\n"
     "Posts one send gathered from 1 to 1024 bytes-like objects, in order."},
    {"connect", fast(connect), keywords_call,
     "connect(address, *, callback=None, timeout=None) -> Operation\n\n"
     "Posts a connect. Sends posted behind it wait for it. A host that is a name is looked up here "
     "and\n"
     "now, which blocks this call."},
    {"accept", fast(accept), keywords_call,
     "accept(*, callback=None, timeout=None) -> Operation\n\n"
     "Posts one accept; Operation.accepted is the new Socket."},
    {"accept_each", fast(accept_each), keywords_call,
     "accept_each(callback, *, on_error=None) -> Operation\n\n"
     "Accepts every connection: callback(socket). An error of one accept never stops the listener: "
     "it\n"
     "is given to on_error(listener, exception), and without descriptors or memory accepting goes "
     "on\n"
     "after 100 ms. Ends with cancel() or the listener."},
    {"receive", fast(receive), keywords_call,
     "receive(callback, *, receive='pooled', size=4096, on_close=None) -> Operation\n\n"
     "Receives everything: callback(socket, buffer), an empty Buffer exactly once at end of "
     "stream;\n"
     "close() is then the application's. on_close(socket, exception or None) comes exactly once, "
     "after\n"
     "the socket is closed, with the error if one closed it.\n"
     "receive: 'pooled' and 'zero_byte' keep no buffer while nothing arrives; 'direct' posts a "
     "block\n"
     "of size bytes, which is charged; 'adaptive' is zero_byte while little arrives and what costs "
     "least\n"
     "while much does (AdaptiveRule). receive_strategy changes it later."},
    {"try_recv", try_recv, METH_O,
     "try_recv(nbytes) -> Buffer | None\n\nReceives what is there, at most nbytes; None: nothing "
     "is, "
     "or posted receives come first. Never pending."},
    {"try_send", try_send, METH_O,
     "try_send(data) -> int\n\nSends what the system takes at once and returns how many bytes; 0: "
     "none, or posted sends come first. Never pending."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
