// From what a Socket is asked to post to an Operation that the core has accepted.
#include "bindings/post.hpp"

#include <cerrno>
#include <utility>

namespace iocp::py {

namespace {

// The core's operation is done and nobody is to hear of it: its result moves to the object, and its
// slot is free again. Called with the lock held, so without a word to Python.
void take_silent(Port& port, Operation& core, OperationObject& op, SocketObject*& connection) {
    op.settled = true;
    op.transferred = static_cast<Py_ssize_t>(core.transferred);
    op.flags = core.kind == Kind::receive ? core.answer : 0;
    if (core.accepted != nullptr) {
        attach(*connection, *std::exchange(core.accepted, nullptr));
        op.accepted = reinterpret_cast<PyObject*>(std::exchange(connection, nullptr));
    }
    core.lease = {};
    port.retire(core);
}

}  // namespace

// The object is the port's before the core can complete the operation; a refused post leaves
// nothing behind.
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
    if (what.envelope != nullptr) {
        op->envelope = what.envelope.release();
        what.lease = op->envelope->lease();
    }
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
        if (op->envelope != nullptr) {
            core->slices = op->envelope->slices();
            core->is_message = op->envelope->is_message();
        }
        core->flags = what.flags;
        core->strategy = what.strategy.value_or(Receive::zero_byte);
        core->adaptive = what.kind == Kind::receive_each && !what.strategy.has_value();
        core->block_size = what.block_size;
        core->from_file = what.from_file;
        core->reuse = what.reuse;
        core->user = op;
        // A socket with a subscription is used at the stream level, where sends share a flush.
        core->batched = what.kind == Kind::send && socket.subscribed && socket.core->stream &&
                        !core->is_message && !core->from_file;
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
            take_block(*op, *port.types, what.lease);
        }
        what.lease.give_back();
        Py_CLEAR(op->callback);
        PyErr_Clear();  // out of memory for the result itself
    } else if (op->outcome == Outcome::done) {
        settle(*op);
    }
    return object;
}

bool to_block(PortObject& port, PyObject* nbytes, Lease& out) {
    Py_ssize_t size = 0;
    if (!to_size(*port.types, nbytes, "nbytes", 1, size) || !usable(port)) {
        return false;
    }
    if (size == 0) {
        raise(*port.types, ErrorClass::argument_type, EINVAL, "nbytes is an int from 1");
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
              "the buffer is empty; give at least one byte, or post recv_zero()");
        return false;
    }
    return true;
}

bool to_common(const Types& types, PyObject* flags, PyObject* callback, PyObject* timeout,
               Post& what) {
    return to_int(types, flags, "flags", what.flags) &&
           to_callback(types, callback, what.callback) && to_timeout(types, timeout, what.timeout);
}

}  // namespace iocp::py
