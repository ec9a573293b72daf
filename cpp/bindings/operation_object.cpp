#include "bindings/operation_object.hpp"

#include <algorithm>
#include <array>

#include "bindings/buffer_object.hpp"
#include "bindings/critical_section.hpp"
#include "bindings/envelope.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/links.hpp"
#include "bindings/pickling.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

OperationObject& self_of(PyObject* self) noexcept {
    return *reinterpret_cast<OperationObject*>(self);
}
CompletionObject& completion_of(PyObject* self) noexcept {
    return *reinterpret_cast<CompletionObject*>(self);
}

constexpr std::array kind_names{"receive",  "zero_byte",  "send",         "connect",    "accept",
                                "writable", "disconnect", "receive_each", "accept_each"};
static_assert(kind_names.size() == kinds);
constexpr std::array outcome_names{"done", "pending", "queued"};
static_assert(outcome_names.size() == outcomes);

int traverse(PyObject* self, visitproc visit, void* arg) {
    OperationObject& op = self_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reinterpret_cast<PyObject*>(op.socket));
    Py_VISIT(op.callback);
    Py_VISIT(op.data);
    Py_VISIT(op.accepted);
    Py_VISIT(op.error);
    return 0;
}

// Breaks reference cycles. Keeps the reference to the socket until dealloc(), which finds the
// core's side of the operation through the socket.
int clear(PyObject* self) {
    OperationObject& op = self_of(self);
    PortObject& port = *op.socket->binding;
    if (op.recipient != Recipient::routine) {
        // A completion routine stays, because the thread's queue of routines refers to the
        // operation until it is handed over.
        forget(port, op.callback);
    }
    forget(port, op.accepted);
    forget(port, op.error);
    return 0;
}

// Never runs for a single operation that the kernel holds, because the port keeps a reference to
// its Python object. May run for a subscription, which goes on without that object.
void dealloc(PyObject* self) {
    OperationObject& op = self_of(self);
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    if (!op.socket->binding->forked()) {
        (void)cut_from_object(*op.socket->binding, op);
    }
    (void)clear(self);
    Py_CLEAR(op.callback);
    Py_CLEAR(op.data);
    delete op.envelope;
    Py_CLEAR(op.socket);
    type->tp_free(self);
    Py_DECREF(type);
}

// Returns the state of the operation. After `completed`, this thread may read what the core has
// written to the operation.
State state_of(const OperationObject& op) noexcept {
    if (op.settled.load(std::memory_order_acquire)) {
        return State::completed;
    }
    const std::lock_guard guard(op.socket->binding->links_mutex);
    const Operation* core = op.core.get();
    return core != nullptr ? core->state.load(std::memory_order_acquire) : State::completed;
}

// Returns the Operation once it has its result; null before. Until then another thread may write
// the result, so it must not be read.
OperationObject* with_result(PyObject* self) {
    OperationObject& op = self_of(self);
    return is_done(op) && op.settled.load(std::memory_order_acquire) ? &op : nullptr;
}

PyObject* optional(PyObject* value) { return Py_NewRef(value != nullptr ? value : Py_None); }

PyObject* get_kind(PyObject* self, void* /*unused*/) {
    return PyUnicode_InternFromString(kind_name(self_of(self).kind));
}
PyObject* get_socket(PyObject* self, void* /*unused*/) {
    return Py_NewRef(reinterpret_cast<PyObject*>(self_of(self).socket));
}
PyObject* get_sequence(PyObject* self, void* /*unused*/) {
    return PyLong_FromUnsignedLong(self_of(self).sequence);
}
PyObject* get_outcome(PyObject* self, void* /*unused*/) {
    return PyUnicode_InternFromString(
        outcome_names[static_cast<std::size_t>(self_of(self).outcome)]);
}
PyObject* get_state(PyObject* self, void* /*unused*/) {
    const char* name = "completed";
    switch (state_of(self_of(self))) {
        case State::queued:
            name = "queued";
            break;
        case State::pending:
        case State::idle:
            name = "pending";
            break;
        case State::cancelling:
            name = "cancelling";
            break;
        case State::completed:
            break;
    }
    return PyUnicode_InternFromString(name);
}
PyObject* get_queued(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(state_of(self_of(self)) == State::queued ? 1 : 0);
}
PyObject* get_pending(PyObject* self, void* /*unused*/) {
    const State state = state_of(self_of(self));
    return PyBool_FromLong(state == State::pending || state == State::cancelling ? 1 : 0);
}
PyObject* get_done(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(state_of(self_of(self)) == State::completed ? 1 : 0);
}
PyObject* get_transferred(PyObject* self, void* /*unused*/) {
    const OperationObject* op = with_result(self);
    return PyLong_FromSsize_t(op != nullptr ? op->transferred : 0);
}
PyObject* get_error(PyObject* self, void* /*unused*/) {
    OperationObject* op = with_result(self);
    return op != nullptr ? error_of(*op) : Py_NewRef(Py_None);
}
PyObject* get_data(PyObject* self, void* /*unused*/) {
    const OperationObject* op = with_result(self);
    return optional(op != nullptr ? op->data : nullptr);
}
PyObject* get_accepted(PyObject* self, void* /*unused*/) {
    const OperationObject* op = with_result(self);
    return optional(op != nullptr ? op->accepted : nullptr);
}
PyObject* get_flags(PyObject* self, void* /*unused*/) {
    const OperationObject* op = with_result(self);
    return PyLong_FromLong(op != nullptr ? op->flags : 0);
}
// Returns the envelope with the received address and ancillary data, once the receive is done
// without an error; else null.
Envelope* received_envelope(PyObject* self) {
    const OperationObject* op = with_result(self);
    return op != nullptr && !op->failure ? op->envelope : nullptr;
}
PyObject* get_address(PyObject* self, void* /*unused*/) {
    const Envelope* envelope = received_envelope(self);
    return envelope != nullptr ? envelope->sender() : Py_NewRef(Py_None);
}
PyObject* get_ancillary(PyObject* self, void* /*unused*/) {
    Envelope* envelope = received_envelope(self);
    if (envelope == nullptr) {
        return PyList_New(0);
    }
    const CriticalSection section(self);
    return envelope->take_ancillary();
}

PyObject* cancel(PyObject* self, PyObject* /*unused*/) {
    OperationObject& op = self_of(self);
    PortObject& port = *op.socket->binding;
    if (!usable(port)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    const bool taken = locked(port, [&] {
        Operation* core = op.core.get();
        return core != nullptr && port.core->operations().cancel(*core);
    });
    return PyBool_FromLong(taken ? 1 : 0);
}

PyObject* represent(PyObject* self) {
    PyObject* state = get_state(self, nullptr);
    if (state == nullptr) {
        return nullptr;
    }
    const OperationObject* op = with_result(self);
    PyObject* text = PyUnicode_FromFormat("<iocp_sock.Operation %s %U, %zd bytes>",
                                          kind_name(self_of(self).kind), state,
                                          op != nullptr ? op->transferred : Py_ssize_t{0});
    Py_DECREF(state);
    return text;
}

PyMethodDef operation_object_methods[] = {
    {"cancel", guarded<cancel>, METH_NOARGS,
     "cancel() -> bool\n\n"
     "Asks for the end of the operation. True: the request was taken. The completion then says\n"
     "how the operation ended: with Cancelled, or with its count if it had finished before the\n"
     "cancel. Until then the buffer stays held and charged. False: the operation had finished,\n"
     "or was cancelled before."},
    {"result", fast(guarded<operation_result>), METH_FASTCALL | METH_KEYWORDS,
     "result(wait=True, timeout=None) -> (transferred, flags)\n\n"
     "Returns the result, as WSAGetOverlappedResult does: the bytes transferred and the MSG_*\n"
     "flags of a receive. data, accepted and address are final then. Raises the error that the\n"
     "operation ended with. Waits at most timeout seconds (None: no limit) until it is done.\n"
     "If no thread runs the port, the wait runs it. With wait=False the call checks once. An\n"
     "operation that has not finished raises StillPending and goes on. Once the result was\n"
     "returned, get() has no Completion for the operation; a callback is still called."},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef operation_properties[] = {
    {"kind", guarded<get_kind>, nullptr,
     "The kind of the operation: 'receive', 'send', 'accept', ...", nullptr},
    {"socket", guarded<get_socket>, nullptr, "The Socket that the operation was posted on.",
     nullptr},
    {"sequence", guarded<get_sequence>, nullptr,
     "The place in the posting order of its socket, counted from 1.", nullptr},
    {"outcome", guarded<get_outcome>, nullptr,
     "The outcome of the post: 'done' (finished at once), 'pending' (the kernel will\n"
     "finish it) or 'queued' (the core holds it). A post that failed raised an error instead.",
     nullptr},
    {"state", guarded<get_state>, nullptr,
     "The current state: 'queued', 'pending', 'cancelling' or 'completed'.", nullptr},
    {"queued", guarded<get_queued>, nullptr, "Whether the core holds the operation now.", nullptr},
    {"pending", guarded<get_pending>, nullptr,
     "Whether the kernel holds the operation now; its buffer is then charged.", nullptr},
    {"done", guarded<get_done>, nullptr,
     "Whether the operation has finished; transferred, data and error are then final.", nullptr},
    {"transferred", guarded<get_transferred>, nullptr,
     "The number of bytes transferred, even if it ended with an error; 0 until it is done.",
     nullptr},
    {"error", guarded<get_error>, nullptr, "The OSError that the operation ended with, or None.",
     nullptr},
    {"data", guarded<get_data>, nullptr,
     "recv(): the received Buffer, empty at the end of the stream. None until it is done, and\n"
     "after an error before the first byte.",
     nullptr},
    {"accepted", guarded<get_accepted>, nullptr,
     "accept(): the new connection, a Socket; else None.", nullptr},
    {"flags", guarded<get_flags>, nullptr,
     "The MSG_* flags of a finished receive, as the system sets them: MSG_TRUNC (the datagram\n"
     "was longer than its room), MSG_CTRUNC, MSG_OOB, MSG_EOR, MSG_ERRQUEUE; else 0.",
     nullptr},
    {"address", guarded<get_address>, nullptr,
     "recvfrom(), recvfrom_into(), recvmsg_into(): the sender's address in the socket module's\n"
     "form. None for a stream, an unbound AF_UNIX sender and an error. accept(): the peer's\n"
     "address.",
     nullptr},
    {"ancillary", guarded<get_ancillary>, nullptr,
     "recvmsg_into(): the ancillary data, a list of (level, type, bytes). Once a program has\n"
     "read this, the descriptors in it (SCM_RIGHTS, close-on-exec) are its own to close.\n"
     "Descriptors that it has not read are closed with the Operation.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* operation_documentation =
    "One posted receive, send, connect or accept, or one subscription.\n\n"
    "Exactly one Completion follows each operation, later and never inside the post. With\n"
    "Socket.skip_done_packets an operation that its post finished leaves none. A program may\n"
    "drop the object: the core holds the operation and its buffer until the completion.";

PyType_Slot operation_slots[] = {
    {Py_tp_doc, const_cast<char*>(operation_documentation)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear>)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<represent>)},
    {Py_tp_methods, operation_object_methods},
    {Py_tp_getset, operation_properties},
    {0, nullptr},
};

constexpr unsigned type_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE;

PyType_Spec operation_spec = {"iocp_sock._core.Operation", sizeof(OperationObject), 0, type_flags,
                              operation_slots};

int completion_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(completion_of(self).operation);
    Py_VISIT(completion_of(self).value);
    return 0;
}

int completion_clear(PyObject* self) {
    Py_CLEAR(completion_of(self).operation);
    Py_CLEAR(completion_of(self).value);
    return 0;
}

void completion_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    (void)completion_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

// Returns a property of the operation; None for a packet.
template <PyObject* (*Get)(PyObject*, void*)>
PyObject* forward(PyObject* self, void* /*unused*/) {
    PyObject* operation = completion_of(self).operation;
    return operation != nullptr ? Get(operation, nullptr) : Py_NewRef(Py_None);
}
template <PyObject* (*Get)(PyObject*, void*)>
PyObject* forward_number(PyObject* self, void* /*unused*/) {
    PyObject* operation = completion_of(self).operation;
    return operation != nullptr ? Get(operation, nullptr) : PyLong_FromLong(0);
}
PyObject* completion_kind(PyObject* self, void* /*unused*/) {
    PyObject* operation = completion_of(self).operation;
    return operation != nullptr ? get_kind(operation, nullptr)
                                : PyUnicode_InternFromString("packet");
}
PyObject* completion_operation(PyObject* self, void* /*unused*/) {
    return optional(completion_of(self).operation);
}
PyObject* completion_ancillary(PyObject* self, void* /*unused*/) {
    PyObject* operation = completion_of(self).operation;
    return operation != nullptr ? get_ancillary(operation, nullptr) : PyList_New(0);
}
PyObject* completion_value(PyObject* self, void* /*unused*/) {
    return optional(completion_of(self).value);
}
PyObject* completion_represent(PyObject* self) {
    PyObject* operation = completion_of(self).operation;
    return operation != nullptr ? PyUnicode_FromFormat("<iocp_sock.Completion of %R>", operation)
                                : PyUnicode_FromString("<iocp_sock.Completion of a packet>");
}

PyGetSetDef completion_properties[] = {
    {"operation", guarded<completion_operation>, nullptr,
     "The Operation that finished; None for a posted packet.", nullptr},
    {"socket", guarded<forward<get_socket>>, nullptr, "The operation's Socket; None for a packet.",
     nullptr},
    {"kind", guarded<completion_kind>, nullptr, "The operation's kind, or 'packet'.", nullptr},
    {"sequence", guarded<forward_number<get_sequence>>, nullptr,
     "The place in the posting order of its socket, counted from 1; 0 for a packet.", nullptr},
    {"transferred", guarded<forward_number<get_transferred>>, nullptr,
     "The number of bytes transferred, even with an error.", nullptr},
    {"error", guarded<forward<get_error>>, nullptr,
     "The OSError that the operation ended with, or None.", nullptr},
    {"data", guarded<forward<get_data>>, nullptr, "recv(): the received Buffer; else None.",
     nullptr},
    {"accepted", guarded<forward<get_accepted>>, nullptr, "accept(): the new Socket; else None.",
     nullptr},
    {"flags", guarded<forward_number<get_flags>>, nullptr, "The MSG_* flags of a receive.",
     nullptr},
    {"address", guarded<forward<get_address>>, nullptr,
     "recvfrom(), recvfrom_into(), recvmsg_into(): the sender's address; accept(): the peer's; "
     "else None.",
     nullptr},
    {"ancillary", guarded<completion_ancillary>, nullptr,
     "Operation.ancillary; empty for a packet.", nullptr},
    {"value", guarded<completion_value>, nullptr, "The value given to Port.post(); else None.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef completion_methods[] = {
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot completion_slots[] = {
    {Py_tp_doc, const_cast<char*>("The one final result of an Operation, or a posted packet.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<completion_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<completion_traverse>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<completion_clear>)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<completion_represent>)},
    {Py_tp_methods, completion_methods},
    {Py_tp_getset, completion_properties},
    {0, nullptr},
};

PyType_Spec completion_spec = {"iocp_sock._core.Completion", sizeof(CompletionObject), 0,
                               type_flags, completion_slots};

}  // namespace

bool is_done(OperationObject& op) {
    const bool done = state_of(op) == State::completed;
    if (done) {
        settle(op);
    }
    return done;
}

const char* kind_name(OperationKind kind) noexcept {
    return kind_names[static_cast<std::size_t>(kind)];
}

PyTypeObject* make_operation_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(
        PyType_FromModuleAndSpec(module, &operation_spec, nullptr));
}

PyTypeObject* make_completion_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(
        PyType_FromModuleAndSpec(module, &completion_spec, nullptr));
}

OperationObject* new_operation(SocketObject& socket, OperationKind kind, PyObject* callback) {
    auto* op = PyObject_GC_New(OperationObject, socket.binding->types->operation);
    if (op == nullptr) {
        return nullptr;
    }
    op->socket = &socket;
    Py_INCREF(reinterpret_cast<PyObject*>(&socket));
    op->core.set(nullptr);
    op->callback = Py_XNewRef(callback);
    op->data = nullptr;
    op->accepted = nullptr;
    op->error = nullptr;
    op->envelope = nullptr;
    op->transferred = 0;
    op->links = {};
    op->failure = {};
    op->sequence = 0;
    op->flags = 0;
    op->kind = kind;
    op->outcome = Outcome::pending;
    op->settled.store(false, std::memory_order_relaxed);
    op->hands_out_block = false;
    op->recipient = Recipient::port;
    op->claims.store(0, std::memory_order_relaxed);
    allow_take_reference(reinterpret_cast<PyObject*>(op));
    PyObject_GC_Track(reinterpret_cast<PyObject*>(op));
    return op;
}

bool take_block(OperationObject& op, PyObject* blank, Lease& lease) noexcept {
    Lease& block = op.envelope != nullptr ? op.envelope->only() : lease;
    if (blank == nullptr) {
        return false;
    }
    auto* region = static_cast<Region*>(block.owner);
    // With MSG_TRUNC the system counts the whole datagram, which may be longer than its block.
    const std::size_t received = std::min(static_cast<std::size_t>(op.transferred), block.length);
    block = {};
    fill_buffer(blank, Slice(region, region->data(), received));
    op.data = blank;
    return true;
}

void settle(OperationObject& op) {
    if (op.settled.load(std::memory_order_acquire)) {
        return;
    }
    PortObject& port = *op.socket->binding;
    PyObject* unused_buffer = nullptr;
    if (op.hands_out_block) {
        unused_buffer = blank_buffer(*port.types);
        if (unused_buffer == nullptr) {
            PyErr_Clear();  // the result itself reports the lack of memory
        }
    }
    PyObject* unused_connection = nullptr;
    Socket* accepted = nullptr;
    {
        const std::lock_guard guard(port.links_mutex);
        Operation* core = op.core.get();
        if (core != nullptr && !op.settled.load(std::memory_order_relaxed)) {
            op.transferred = static_cast<Py_ssize_t>(core->transferred);
            op.failure = core->error;
            if (op.hands_out_block && (!core->error || core->transferred != 0)) {
                if (take_block(op, unused_buffer, core->lease)) {
                    unused_buffer = nullptr;
                } else if (!op.failure) {
                    op.failure = no_buffer;
                }
            }
            if (core->kind == OperationKind::receive && !core->error) {
                op.flags = core->answer;
            }
            if (op.accepted != nullptr && core->accepted != nullptr) {
                accepted = std::exchange(core->accepted, nullptr);
                attach(*reinterpret_cast<SocketObject*>(op.accepted), *accepted);
            } else {
                unused_connection = std::exchange(op.accepted, nullptr);
            }
            op.settled.store(true, std::memory_order_release);
        }
    }
    Py_XDECREF(unused_buffer);
    Py_XDECREF(unused_connection);
    if (accepted != nullptr) {
        claim(port, *accepted);
    }
}

PyObject* error_of(OperationObject& op) {
    if (!op.settled.load(std::memory_order_acquire) || !op.failure) {
        Py_RETURN_NONE;
    }
    PortObject& port = *op.socket->binding;
    PyObject* error = stored(port, op.error);
    if (error != nullptr) {
        return error;
    }
    PyObject* made = make_exception(&port, *port.types, op.failure);
    if (made == nullptr) {
        return nullptr;
    }
    {
        const std::lock_guard guard(port.links_mutex);
        if (op.error == nullptr) {
            op.error = Py_NewRef(made);
        }
        error = Py_NewRef(op.error);
    }
    Py_DECREF(made);
    return error;
}

PyObject* new_completion(const Types& types, PyObject* operation, PyObject* value) {
    auto* completion = PyObject_GC_New(CompletionObject, types.completion);
    if (completion == nullptr) {
        return nullptr;
    }
    completion->operation = Py_XNewRef(operation);
    completion->value = Py_XNewRef(value);
    PyObject_GC_Track(reinterpret_cast<PyObject*>(completion));
    return reinterpret_cast<PyObject*>(completion);
}

}  // namespace iocp::py
