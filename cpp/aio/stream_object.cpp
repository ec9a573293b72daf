// The type StreamBase: the fields of a transport, and its life.
#include "aio/stream_object.hpp"

#include <structmember.h>

#include <array>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "bindings/guarded.hpp"
#include "bindings/links.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/port_object.hpp"

namespace iocp::aio {

using py::guarded;
using py::Held;

Py_ssize_t fields_at = 0;

namespace {

// An object of the transport: the name of its property, and where it lies. The interpreter finds it
// as the member `hidden`, which the type does not show, so that no program stores another type.
struct ObjectField {
    const char* name;
    const char* hidden;
    PyObject* StreamFields::*where;
    std::size_t offset;
    bool writable;
};

#define IOCP_FIELD(name, where, writable) \
    { name, name " ", &StreamFields::where, offsetof(StreamFields, where), writable }
constexpr ObjectField object_fields[] = {
    IOCP_FIELD("_core", core, false),        IOCP_FIELD("_sock", sock, false),
    IOCP_FIELD("_protocol", protocol, true), IOCP_FIELD("_context", context, false),
    IOCP_FIELD("_server", server, true),     IOCP_FIELD("_write_error", write_error, true),
    IOCP_FIELD("_held", held, true),         IOCP_FIELD("_extra", extra, true),
    IOCP_FIELD("_names", names, false),
};
#undef IOCP_FIELD

constexpr std::size_t default_high = std::size_t{64} << 10U;  // asyncio's

PyObject* get_object(PyObject* self, void* field) {
    const Held value(taken(self, static_cast<const ObjectField*>(field)->where));
    return Py_NewRef(value.get() != nullptr ? value.get() : Py_None);
}

PyObject* replaced(PyObject* self, PyObject* StreamFields::*which, PyObject* value) {
    const py::CriticalSection section(self);
    return std::exchange(fields_of(self).*which, value);
}

int set_object(PyObject* self, PyObject* given, void* field) {
    PyObject* value = given == Py_None ? nullptr : Py_XNewRef(given);
    Py_XDECREF(replaced(self, static_cast<const ObjectField*>(field)->where, value));
    return 0;
}

// asyncio's get_extra_info() reads this dict. A connection that is never asked has none.
PyObject* get_extra(PyObject* self, void* field) {
    Held extra(taken(self, &StreamFields::extra));
    if (extra.get() != nullptr) {
        return extra.release();
    }
    Held made(PyObject_CallMethod(self, "_make_extra", nullptr));
    if (made.get() == nullptr || set_object(self, made.get(), field) < 0) {
        return nullptr;
    }
    return made.release();
}

// Returns the Socket; None before and after the transport is open.
PyObject* get_core(PyObject* self, void* /*unused*/) {
    Held core(open_core(self));
    return core.get() != nullptr ? core.release() : Py_NewRef(Py_None);
}

// _socket_object(): the Socket, also after its end.
PyObject* socket_object(PyObject* self, PyObject* /*unused*/) {
    Held core(taken(self, &StreamFields::core));
    return core.get() != nullptr ? core.release() : Py_NewRef(Py_None);
}

// _open(core, sock, context, peer): the transport of an open Socket from here on. `peer` is the raw
// address of an accepted connection's peer, or None. Returns the Socket's name, for
// Port._receiver().
PyObject* open(PyObject* self, PyTypeObject* defining, PyObject* const* given, Py_ssize_t count,
               PyObject* /*keywords*/) {
    PyObject* module = PyType_GetModule(defining);
    const Held reference(module != nullptr ? PyObject_GetAttrString(module, "_types") : nullptr);
    if (reference.get() == nullptr) {
        return nullptr;
    }
    const auto* types =
        static_cast<const py::Types*>(PyCapsule_GetPointer(reference.get(), nullptr));
    if (types == nullptr) {
        return nullptr;
    }
    if (count != 4 || !Py_IS_TYPE(given[0], types->socket) || !PyContext_CheckExact(given[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "_open() needs a Socket, its socket.socket or None, a Context, and a raw "
                        "address or None");
        return nullptr;
    }
    auto& socket = *reinterpret_cast<py::SocketObject*>(given[0]);
    StreamFields& fields = fields_of(self);
    {
        const py::CriticalSection section(self);
        if (fields.core != nullptr) {
            PyErr_SetString(PyExc_RuntimeError, "the transport is open already");
            return nullptr;
        }
        fields.core = Py_NewRef(given[0]);
        fields.sock = given[1] == Py_None ? nullptr : Py_NewRef(given[1]);
        Py_XSETREF(fields.context, Py_NewRef(given[2]));
        if (PyBytes_CheckExact(given[3]) &&
            static_cast<std::size_t>(PyBytes_GET_SIZE(given[3])) <= fields.peer.size()) {
            fields.peer_length = static_cast<std::uint8_t>(PyBytes_GET_SIZE(given[3]));
            std::memcpy(fields.peer.data(), PyBytes_AS_STRING(given[3]), fields.peer_length);
        }
    }
    const bool owned = given[1] == Py_None;
    Handle handle = no_handle;
    const SlotId name = py::locked(*socket.binding, [&] {
        Socket* target = socket.core.get();
        if (target == nullptr) {
            return SlotId{};
        }
        if (owned && target->state == SocketState::open) {
            socket.binding->core->sockets().keep_open(*target);
        }
        handle = target->handle;
        return target->id;
    });
    fields.descriptor = static_cast<int>(handle);
    fields.high = default_high;
    if (!owned) {
        keep_names(self,
                   socket);  // the descriptor is its owner's as soon as an error ends the Socket
    }
    Py_XDECREF(py::replaced(*socket.binding, socket.on_close, Py_NewRef(self)));
    return PyLong_FromUnsignedLongLong(name.packed());
}

// _give_up(): returns the Socket and its socket.socket, which the caller closes.
PyObject* give_up(PyObject* self, PyObject* /*unused*/) {
    const Held core(open_core(self));
    if (core.get() == nullptr) {
        return PyTuple_Pack(2, Py_None, Py_None);
    }
    py::SocketObject& socket = *socket_in(core);
    const Held extra(taken(self, &StreamFields::extra));
    const Held names(taken(self, &StreamFields::names));
    if (extra.get() == nullptr && names.get() == nullptr) {
        keep_names(self, socket);
    }
    const Held sock(taken(self, &StreamFields::sock));
    fields_of(self).over = 1;
    PyObject* on_close = nullptr;
    {
        const std::lock_guard guard(socket.binding->links_mutex);
        if (socket.on_close == self) {
            on_close = std::exchange(socket.on_close, nullptr);
        }
    }
    Py_XDECREF(on_close);
    return PyTuple_Pack(2, core.get(), sock.get() != nullptr ? sock.get() : Py_None);
}

PyObject* is_closing(PyObject* self, PyObject* /*unused*/) {
    // drain() lets the loop go on only where the transport is closing.
    const StreamFields& fields = fields_of(self);
    return PyBool_FromLong(fields.closing != 0 || fields.write_error != nullptr ? 1 : 0);
}

PyObject* is_reading(PyObject* self, PyObject* /*unused*/) {
    const StreamFields& fields = fields_of(self);
    return PyBool_FromLong(fields.closing == 0 && fields.paused == 0 ? 1 : 0);
}

PyObject* get_protocol(PyObject* self, PyObject* /*unused*/) {
    Held protocol(taken(self, &StreamFields::protocol));
    return protocol.get() != nullptr ? protocol.release() : Py_NewRef(Py_None);
}

PyMethodDef life_methods[] = {
    {"_open", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<open>)),
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"_give_up", guarded<give_up>, METH_NOARGS, nullptr},
    {"_socket_object", guarded<socket_object>, METH_NOARGS, nullptr},
    {"is_closing", guarded<is_closing>, METH_NOARGS,
     "is_closing() -> bool\n\nReturns whether the transport is closing or closed."},
    {"is_reading", guarded<is_reading>, METH_NOARGS,
     "is_reading() -> bool\n\nReturns whether the transport receives."},
    {"get_protocol", guarded<get_protocol>, METH_NOARGS,
     "get_protocol() -> protocol\n\nReturns the current protocol."},
};

// The members that Python reads and writes, and, behind them, those of the interpreter alone.
std::vector<PyMemberDef> members_of(Py_ssize_t base) {
    const auto at = [base](std::size_t offset) { return base + static_cast<Py_ssize_t>(offset); };
    std::vector<PyMemberDef> members{
        {"_sock_fd", T_INT, at(offsetof(StreamFields, descriptor)), READONLY, nullptr},
        {"_conn_lost", T_INT, at(offsetof(StreamFields, conn_lost)), 0, nullptr},
        {"_closing", T_BOOL, at(offsetof(StreamFields, closing)), 0, nullptr},
        {"_paused", T_BOOL, at(offsetof(StreamFields, paused)), 0, nullptr},
        {"_eof", T_BOOL, at(offsetof(StreamFields, eof)), 0, nullptr},
        {"_sending_file", T_BOOL, at(offsetof(StreamFields, sending_file)), 0, nullptr},
        {"_protocol_connected", T_BOOL, at(offsetof(StreamFields, protocol_connected)), 0, nullptr},
        {"_read_ended", T_BOOL, at(offsetof(StreamFields, read_ended)), 0, nullptr},
        {"_buffered", T_BOOL, at(offsetof(StreamFields, buffered)), 0, nullptr},
        {"_subscribed", T_BOOL, at(offsetof(StreamFields, subscribed)), READONLY, nullptr},
        {"__weaklistoffset__", T_PYSSIZET, at(offsetof(StreamFields, weak_references)), READONLY,
         nullptr},
    };
    for (const ObjectField& field : object_fields) {
        members.push_back({field.hidden, T_OBJECT_EX, at(field.offset), 0, nullptr});
    }
    members.push_back({nullptr, 0, 0, 0, nullptr});
    return members;
}

std::vector<PyGetSetDef>& properties() {
    static std::vector<PyGetSetDef> made = [] {
        std::vector<PyGetSetDef> all;
        for (const ObjectField& field : object_fields) {
            const auto get = field.where == &StreamFields::extra  ? guarded<get_extra>
                             : field.where == &StreamFields::core ? guarded<get_core>
                                                                  : guarded<get_object>;
            all.push_back({field.name, get, field.writable ? guarded<set_object> : nullptr, nullptr,
                           const_cast<ObjectField*>(&field)});
        }
        all.push_back({nullptr, nullptr, nullptr, nullptr, nullptr});
        return all;
    }();
    return made;
}

std::vector<PyMethodDef>& methods() {
    static std::vector<PyMethodDef> made = [] {
        std::vector<PyMethodDef> all(std::begin(life_methods), std::end(life_methods));
        for (const PyMethodDef* table : {stream_name_methods, stream_reading_methods,
                                         stream_delivery_methods, stream_writing_methods}) {
            for (const PyMethodDef* at = table; at->ml_name != nullptr; ++at) {
                all.push_back(*at);
            }
        }
        all.push_back({nullptr, nullptr, 0, nullptr});
        return all;
    }();
    return made;
}

// Makes the type. It has no dealloc, traverse or clear of its own: those of a class of Python visit
// and clear its members, and go on with the members of asyncio's class, which nothing else can
// reach. So the members are what Python calls slots.
PyObject* make_type(PyObject* module, PyTypeObject* base) {
    fields_at = base->tp_basicsize;
    std::vector<PyMemberDef> members = members_of(fields_at);
    PyType_Slot slots[] = {
        {Py_tp_doc, const_cast<char*>("The native half of a stream's transport, as a base class.")},
        {Py_tp_methods, methods().data()},
        {Py_tp_members, members.data()},
        {Py_tp_getset, properties().data()},
        {0, nullptr},
    };
    PyType_Spec spec = {"iocp_sock._core.StreamBase",
                        static_cast<int>(fields_at + static_cast<Py_ssize_t>(sizeof(StreamFields))),
                        0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    const Held bases(PyTuple_Pack(1, base));
    Held type(bases.get() != nullptr ? PyType_FromModuleAndSpec(module, &spec, bases.get())
                                     : nullptr);
    for (const ObjectField& field : object_fields) {
        if (type.get() == nullptr || PyObject_DelAttrString(type.get(), field.hidden) < 0) {
            return nullptr;
        }
    }
    return type.release();
}

}  // namespace

void keep_while_busy(PyObject* self, py::SocketObject& socket) {
    const StreamFields& fields = fields_of(self);
    py::PortObject& port = *socket.binding;
    if (!port.usable() || fields.closing != 0 || socket.ending || !socket.core.linked()) {
        return;  // the end of a Socket keeps it by itself
    }
    const bool waits =
        py::peek(socket, false, [](const Socket& core) { return core.sending.bytes != 0; });
    if (waits || (socket.subscribed != 0 && fields.paused == 0)) {
        py::hold(port, port.sockets, socket);
    } else {
        py::give_up(port, port.sockets, socket);
    }
}

bool StreamNames::make() {
    data_received = PyUnicode_InternFromString("data_received");
    get_buffer = PyUnicode_InternFromString("get_buffer");
    buffer_updated = PyUnicode_InternFromString("buffer_updated");
    any_size = PyLong_FromLong(-1);
    return data_received != nullptr && get_buffer != nullptr && buffer_updated != nullptr &&
           any_size != nullptr;
}

StreamNames::~StreamNames() {
    Py_XDECREF(data_received);
    Py_XDECREF(get_buffer);
    Py_XDECREF(buffer_updated);
    Py_XDECREF(any_size);
}

PyObject* stream_type(PyObject* module, py::Types& types) {
    if (types.sink.type != nullptr) {
        return Py_NewRef(reinterpret_cast<PyObject*>(types.sink.type));
    }
    const Held transports(PyImport_ImportModule("asyncio.transports"));
    const Held base(transports.get() != nullptr
                        ? PyObject_GetAttrString(transports.get(), "_FlowControlMixin")
                        : nullptr);
    if (base.get() == nullptr) {
        return nullptr;
    }
    if (!PyType_Check(base.get())) {
        PyErr_SetString(PyExc_TypeError, "asyncio's _FlowControlMixin must be a class");
        return nullptr;
    }
    auto names = std::make_unique<StreamNames>();
    if (!names->make()) {
        return nullptr;
    }
    PyObject* type = make_type(module, reinterpret_cast<PyTypeObject*>(base.get()));
    if (type == nullptr) {
        return nullptr;
    }
    types.of_sink = std::move(names);
    types.sink.type = reinterpret_cast<PyTypeObject*>(Py_NewRef(type));
    make_sink(types.sink);
    return type;
}

}  // namespace iocp::aio
