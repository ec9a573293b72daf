// The common part of all posts: makes an Operation from a method's arguments and submits it to the
// core.

#include "bindings/post.hpp"

#include <cerrno>
#include <utility>

#include "bindings/buffer_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/hand_over.hpp"
#include "bindings/lease.hpp"
#include "bindings/links.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/routines.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

// Ends an operation that its post finished and that leaves no completion: moves its result to the
// Python object and frees its slot. Called with the port's lock held, so this function never calls
// Python. Returns the connection that the operation accepted, or null.
Socket* take_silent(Port& port, Operation& core, OperationObject& op) {
    op.transferred = static_cast<Py_ssize_t>(core.transferred);
    op.flags = core.kind == OperationKind::receive ? core.answer : 0;
    Socket* accepted = std::exchange(core.accepted, nullptr);
    core.lease = {};
    port.operations().retire(core);
    return accepted;
}

// Completes the Python object of an operation that left no completion. No other thread knows that
// object yet.
void settle_silent(PortObject& port, OperationObject& op, Post& what, Socket* accepted) {
    if (what.hands_out_block) {
        PyObject* buffer = blank_buffer(*port.types);
        if (!take_block(op, buffer, what.lease)) {
            PyErr_Clear();
            op.failure = no_buffer;
        }
    }
    what.lease.give_back();
    Py_CLEAR(op.callback);
    if (accepted != nullptr) {
        {
            const std::lock_guard guard(port.links_mutex);
            attach(*reinterpret_cast<SocketObject*>(op.accepted), *accepted);
        }
        claim(port, *accepted);
    } else {
        Py_CLEAR(op.accepted);
    }
    op.settled.store(true, std::memory_order_release);
}

bool to_event(const Types& types, PyObject* given, Post& what) {
    if (!Py_IS_TYPE(given, types.event)) {
        return refuse_type(types, "event must be an iocp_sock.Event, or None", given);
    }
    if (what.callback != nullptr) {
        raise(types, ErrorClass::argument, EINVAL,
              "an operation takes a callback or an event, not both; give one of them");
        return false;
    }
    what.callback = given;
    what.recipient = Recipient::event;
    return true;
}

// Prepares the notification before the post: reserves the event, or enlists the operation with the
// thread's routines. False: an exception is set.
bool prepare_to_tell(SocketObject& socket, OperationObject& op, const Post& what) {
    if (what.recipient == Recipient::event) {
        return reserve(event_of(*what.callback), *socket.binding);
    }
    if (what.recipient == Recipient::routine) {
        Routines* routines = Routines::of_this_thread();
        PyObject* bound = routines != nullptr ? routines->bind(what.callback) : nullptr;
        if (bound == nullptr) {
            return false;
        }
        Py_XDECREF(std::exchange(op.callback, bound));
        try {
            routines->enlist(op);
        } catch (const std::bad_alloc&) {
            PyErr_NoMemory();
            return false;
        }
    }
    return true;
}

void tell_nobody(OperationObject& op, const Post& what) {
    if (what.recipient == Recipient::event) {
        event_of(*what.callback).event.refuse();
    } else if (what.recipient == Recipient::routine) {
        Routines::retire(op, op.callback, false);
    }
}

}  // namespace

// Posts an operation. The port first takes a reference to the Python object of a single operation,
// because the core may complete the operation at once. A refused post leaves nothing behind.
PyObject* posted(SocketObject& socket, Post& what) {
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
    op->recipient = what.recipient;
    if (what.envelope != nullptr) {
        op->envelope = what.envelope.release();
        what.lease = op->envelope->lease();
    }
    if (what.kind == OperationKind::accept) {
        // Makes the new connection's Socket before the post, because the result is taken over
        // without a call into Python.
        op->accepted = reinterpret_cast<PyObject*>(blank_socket(socket.port, port));
        if (op->accepted == nullptr) {
            Py_DECREF(reinterpret_cast<PyObject*>(op));
            return nullptr;
        }
    }
    if (!prepare_to_tell(socket, *op, what)) {
        what.lease.give_back();
        Py_DECREF(reinterpret_cast<PyObject*>(op));
        return nullptr;
    }
    bool silent = false;
    Socket* accepted = nullptr;
    // A subscription goes on without its Python object, so that an idle connection does not pay for
    // one.
    const bool kept =
        what.kind != OperationKind::receive_each && what.kind != OperationKind::accept_each;
    auto* object = reinterpret_cast<PyObject*>(op);
    if (kept) {
        hold(port, port.operations, *op);
    }
    const Error error = locked(port, [&]() -> Error {
        Socket* target = socket.core.get();
        if (target == nullptr) {
            return Error::of(Fault::socket_closed,
                             "the socket is closed; nothing more can be posted");
        }
        Operation* core = port.core->operations().create(*target, what.kind);
        if (core == nullptr) {
            return Error::of(Fault::resource,
                             "no memory for an operation; post again when some is free");
        }
        core->lease = what.lease;
        if (op->envelope != nullptr) {
            core->slices = op->envelope->slices();
            core->is_message = op->envelope->is_message();
        }
        core->flags = what.flags;
        core->strategy = what.strategy.value_or(ReceiveStrategy::zero_byte);
        core->adaptive = what.kind == OperationKind::receive_each && !what.strategy.has_value();
        core->block_size = what.block_size;
        core->from_file = what.from_file;
        core->reuse = what.reuse;
        core->divisible = what.divisible;
        core->user = op;
        core->notifies = what.recipient != Recipient::port;
        if (Error refused = port.core->operations().submit(*core, what.timeout)) {
            core->lease = {};
            port.core->operations().discard(*core);
            return refused;
        }
        op->outcome = core->outcome;
        op->sequence = core->sequence;
        silent = core->silent;
        if (silent) {
            accepted = take_silent(*port.core, *core, *op);
        } else {
            op->core.set(core);
        }
        return {};
    });
    if ((error || silent) && kept) {
        give_up(port, port.operations, *op);
    }
    if (error) {
        what.lease.give_back();
        tell_nobody(*op, what);
        Py_DECREF(object);
        raise(&port, *port.types, error);
        return nullptr;
    }
    if (silent) {
        settle_silent(port, *op, what, accepted);
    } else if (op->outcome == Outcome::done) {
        settle(*op);
        if (what.recipient != Recipient::port) {
            (void)hand_over(port);
        }
    }
    return object;
}

bool to_block(PortObject& port, PyObject* nbytes, Lease& out) {
    Py_ssize_t size = 0;
    if (!to_size(*port.types, nbytes, "nbytes", 1, size) || !usable(port)) {
        return false;
    }
    if (size == 0) {
        raise(*port.types, ErrorClass::argument_type, EINVAL,
              "nbytes must be an int, 1 or more (the maximum to receive), not None");
        return false;
    }
    Region* block = port.pool->take(static_cast<std::size_t>(size));
    if (block == nullptr) {
        PyErr_NoMemory();
        return false;
    }
    out = {block->data(), static_cast<std::size_t>(size), block,
           [](void* owner) { static_cast<Region*>(owner)->drop_reference(); }};
    return true;
}

bool to_room(const Types& types, PyObject* buffer, Lease& out) {
    if (!lease_writable(types, buffer, out)) {
        return false;
    }
    if (out.length == 0) {
        out.give_back();
        raise(types, ErrorClass::argument, EINVAL,
              "the buffer is empty; give at least one byte of room, or post recv_zero()");
        return false;
    }
    return true;
}

bool to_common(const Types& types, PyObject* flags, PyObject* const* rest, Post& what) {
    return to_int(types, flags, "flags", what.flags) &&
           to_callback(types, rest[0], what.callback) && to_timeout(types, rest[1], what.timeout) &&
           (!is_given(rest[2]) || to_event(types, rest[2], what));
}

bool to_routine(const SocketObject& socket, PyObject* given, Post& what) {
    if (!is_given(given)) {
        return true;
    }
    const PortObject& port = *socket.binding;
    const Types& types = *port.types;
    if (PyCallable_Check(given) == 0) {
        return refuse_type(types, "a routine must be callable, or None", given);
    }
    if (what.callback != nullptr) {
        raise(types, ErrorClass::argument, EINVAL,
              "an operation takes a callback, an event or a routine; give one of them");
        return false;
    }
    if (!port.takes_routines) {
        raise(types, ErrorClass::argument, EINVAL,
              "a socket that is attached to a port takes no completion routines; make it with "
              "thread_port()");
        return false;
    }
    what.callback = given;
    what.recipient = Recipient::routine;
    return true;
}

}  // namespace iocp::py
