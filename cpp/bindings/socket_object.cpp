// The type Socket, and the creation and destruction of its objects. The end of a socket is in
// socket_ending.cpp. Addresses and options are in socket_options.cpp, socket_tuning.cpp and
// socket_flow.cpp; posts are in socket_operations.cpp, socket_messages.cpp and
// socket_subscriptions.cpp.
#include "bindings/socket_object.hpp"

#include <cstring>

#include "base/process.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/held.hpp"
#include "bindings/links.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/pickling.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

int traverse(PyObject* self, visitproc visit, void* arg) {
    SocketObject& socket = socket_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(socket.port);
    Py_VISIT(socket.on_item);
    Py_VISIT(socket.on_close);
    Py_VISIT(socket.on_error);
    Py_VISIT(socket.on_pause);
    Py_VISIT(socket.on_resume);
    Py_VISIT(socket.user);
    return 0;
}

int clear(PyObject* self) {
    SocketObject& socket = socket_of(self);
    for (PyObject* SocketObject::*which :
         {&SocketObject::on_item, &SocketObject::on_close, &SocketObject::on_error,
          &SocketObject::on_pause, &SocketObject::on_resume, &SocketObject::user}) {
        forget(*socket.binding, socket.*which);
    }
    return 0;
}

void finalize(PyObject* self) {
    SocketObject& socket = socket_of(self);
    if (socket.ending || socket.binding->forked() ||
        !peek(socket, false, [](const Socket& core) { return core.state == SocketState::open; })) {
        return;  // a closing port, or an error, may end a core socket before its Socket knows
    }
    PyObject* pending = PyErr_GetRaisedException();
    attaching([self] {
        if (PyErr_ResourceWarning(self, 1, "unclosed socket %R", self) != 0 &&
            PyErr_ExceptionMatches(PyExc_Warning) != 0) {
            PyErr_WriteUnraisable(self);
        }
    });
    PyErr_SetRaisedException(pending);
}

// Runs when no operation and no subscription refers to the Socket any more. The core socket is
// closed by its id, because the thread that runs the port may have closed it since the link was
// cut.
void dealloc(PyObject* self) {
    SocketObject& socket = socket_of(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    PortObject& port = *socket.binding;
    if (port.forked()) {
        close_in_child(socket);
    } else {
        if (const std::optional<SlotId> name = cut_from_object(port, socket)) {
            locked(port, [&] {
                if (Socket* core = port.core->sockets().find(*name)) {
                    port.core->sockets().close(*core, -1);
                }
                return 0;
            });
        }
    }
    (void)clear(self);
    Py_CLEAR(socket.port);
    type->tp_free(self);
    Py_DECREF(type);
}

struct Seen {
    const char* state{"closed"};
    Handle handle{no_handle};
    Address own;
    Address peer;
};

// Returns the text ", name=address" for the repr of a Socket, or an empty str without an address.
PyObject* named(const char* name, const Address& address) {
    PyObject* shown = address.length != 0 ? from_address(address) : Py_NewRef(Py_None);
    PyObject* text = shown == nullptr   ? nullptr
                     : shown == Py_None ? PyUnicode_FromString("")
                                        : PyUnicode_FromFormat(", %s=%R", name, shown);
    Py_XDECREF(shown);
    return text;
}

PyObject* represent(PyObject* self) {
    SocketObject& socket = socket_of(self);
    const Seen seen = peek(socket, Seen{}, [&](const Socket& core) {
        Seen found;
        found.state = "closing";
        if (core.state != SocketState::open || socket.ending) {
            return found;
        }
        found.state = core.watched ? "watched" : core.connected ? "connected" : "open";
        found.handle = core.handle;
        Backend& backend = socket.binding->core->backend();
        if (backend.name_of(core, false, found.own) != 0) {
            found.own.length = 0;
        }
        if (!core.connected || backend.name_of(core, true, found.peer) != 0) {
            found.peer.length = 0;
        }
        return found;
    });
    PyObject* own = named("laddr", seen.own);
    PyObject* peer = own != nullptr ? named("raddr", seen.peer) : nullptr;
    PyObject* text = nullptr;
    if (peer != nullptr) {
        text = PyUnicode_FromFormat("<iocp_sock.Socket %s, fd=%zd, family=%d, type=%d%U%U>",
                                    seen.state, static_cast<Py_ssize_t>(seen.handle),
                                    static_cast<int>(socket.family), static_cast<int>(socket.type),
                                    own, peer);
    }
    Py_XDECREF(own);
    Py_XDECREF(peer);
    return text;
}

PyObject* get_user(PyObject* self, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    PyObject* user = stored(*socket.binding, socket.user);
    return user != nullptr ? user : Py_NewRef(Py_None);
}
int set_user(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    PyObject* user = given == Py_None ? nullptr : Py_XNewRef(given);
    Py_XDECREF(replaced(*socket.binding, socket.user, user));
    return 0;
}

PyObject* get_port(PyObject* self, void* /*unused*/) { return Py_NewRef(socket_of(self).port); }
PyObject* get_family(PyObject* self, void* /*unused*/) {
    return PyLong_FromLong(socket_of(self).family);
}
PyObject* get_type(PyObject* self, void* /*unused*/) {
    return PyLong_FromLong(socket_of(self).type);
}
PyObject* get_proto(PyObject* self, void* /*unused*/) {
    return PyLong_FromLong(socket_of(self).protocol);
}

// Returns a figure of the core's socket; 0 once the socket is closed.
template <class Read>
PyObject* figure(PyObject* self, Read&& read) {
    SocketObject& socket = socket_of(self);
    if (socket.binding->forked()) {
        return PyLong_FromLong(0);
    }
    const std::size_t value = locked(*socket.binding, [&]() -> std::size_t {
        const Socket* core = socket.core.get();
        return core != nullptr ? read(*core) : 0;
    });
    return PyLong_FromSize_t(value);
}

PyObject* get_closed(PyObject* self, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    if (!socket.core.linked() || socket.binding->forked()) {
        Py_RETURN_TRUE;
    }
    const bool closed = peek(socket, true, [&](const Socket& core) {
        return core.ends_at_once() ? core.state == SocketState::closed
                                   : socket.ending || core.state != SocketState::open;
    });
    return PyBool_FromLong(closed ? 1 : 0);
}
PyObject* get_charged(PyObject* self, void* /*unused*/) {
    return figure(self, [](const Socket& core) { return core.charged_pages * system_page_size(); });
}
PyObject* get_queued_bytes(PyObject* self, void* /*unused*/) {
    return figure(self, [](const Socket& core) -> std::size_t { return core.sending.bytes; });
}
PyObject* get_outstanding(PyObject* self, void* /*unused*/) {
    return figure(self, [](const Socket& core) -> std::size_t { return core.outstanding; });
}

PyObject* get_blocking(PyObject* self, void* /*unused*/) {
    PyObject* module = PyImport_ImportModule("iocp_sock.blocking");
    PyObject* calls =
        module != nullptr ? PyObject_CallMethod(module, "BlockingSocket", "O", self) : nullptr;
    Py_XDECREF(module);
    return calls;
}

PyObject* get_skip_done_packets(PyObject* self, void* /*unused*/) {
    const bool skip =
        peek(socket_of(self), false, [](const Socket& core) { return bool{core.skip_done}; });
    return PyBool_FromLong(skip ? 1 : 0);
}
int set_skip_done_packets(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    if (given == nullptr || !PyBool_Check(given)) {
        raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
              "skip_done_packets must be True or False");
        return -1;
    }
    const bool skip = given == Py_True;
    return with_open(socket,
                     [&](Socket& core) {
                         core.skip_done = skip;
                         return Error{};
                     })
               ? 0
               : -1;
}

PyObject* fileno(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = socket_of(self);
    const Handle handle = peek(socket, no_handle, [&](const Socket& core) {
        const bool open = !socket.ending && core.state == SocketState::open;
        return open || core.keeps_open ? core.handle : no_handle;
    });
    return PyLong_FromSsize_t(handle);
}

PyObject* shutdown(PyObject* self, PyObject* given) {
    SocketObject& socket = socket_of(self);
    int how = -1;
    if (!to_int(*socket.binding->types, given, "how", how)) {
        return nullptr;
    }
    if (how < 0 || how > 2) {
        return raise(*socket.binding->types, ErrorClass::argument, EINVAL,
                     "how must be SHUT_RD, SHUT_WR or SHUT_RDWR");
    }
    if (!with_open(socket, [&](Socket& core) {
            return socket.binding->core->sockets().shutdown(core, how != 1, how != 0);
        })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* available(PyObject* self, PyObject* /*unused*/) {
    std::int64_t bytes = 0;
    if (!with_open(socket_of(self), [&](Socket& core) -> Error {
            Backend& backend = socket_of(self).binding->core->backend();
            bytes = backend.available(core);
            return bytes < 0 ? system_error(backend, static_cast<int>(-bytes)) : Error{};
        })) {
        return nullptr;
    }
    return PyLong_FromLongLong(bytes);
}

PyObject* cancel(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = socket_of(self);
    if (!usable(*socket.binding)) {
        return nullptr;
    }
    const unsigned count = locked(*socket.binding, [&] {
        Socket* core = socket.core.get();
        return core != nullptr ? socket.binding->core->operations().cancel_all(*core) : 0U;
    });
    return PyLong_FromUnsignedLong(count);
}

PyMethodDef life_methods[] = {
    {"fileno", guarded<fileno>, METH_NOARGS,
     "fileno() -> int\n\n"
     "Returns the descriptor, or -1 once the socket is closed."},
    {"shutdown", guarded<shutdown>, METH_O,
     "shutdown(how) -> None\n\n"
     "Shuts down one direction or both. SHUT_WR follows the sends queued before it: the peer\n"
     "sees the end of the stream behind them."},
    {"available", guarded<available>, METH_NOARGS,
     "available() -> int\n\n"
     "Returns the number of bytes that can be read now (FIONREAD); 0 also at the end of the\n"
     "stream."},
    {"cancel", guarded<cancel>, METH_NOARGS,
     "cancel() -> int\n\n"
     "Asks for the end of every outstanding operation, and returns the number of requests."},
    no_pickling,
};

PyGetSetDef life_properties[] = {
    {"port", guarded<get_port>, nullptr, "The Port that the socket belongs to.", nullptr},
    {"user", guarded<get_user>, guarded<set_user>,
     "Any object for the program's own use, None at first. The Socket keeps it.", nullptr},
    {"family", guarded<get_family>, nullptr, "The address family, such as socket.AF_INET.",
     nullptr},
    {"type", guarded<get_type>, nullptr, "The socket type, such as socket.SOCK_STREAM.", nullptr},
    {"proto", guarded<get_proto>, nullptr, "The protocol number.", nullptr},
    {"closed", guarded<get_closed>, nullptr,
     "Whether close() was called or an error closed the socket. The address of a closed\n"
     "listener or datagram socket is free again, and a borrowed descriptor is the caller's: at\n"
     "once, or a turn later if another thread runs the port.",
     nullptr},
    {"charged", guarded<get_charged>, nullptr,
     "The bytes of whole pages that the unfinished operations keep locked.", nullptr},
    {"queued_bytes", guarded<get_queued_bytes>, nullptr,
     "The bytes of accepted sends and files that the system has not taken yet.", nullptr},
    {"blocking", guarded<get_blocking>, nullptr,
     "A BlockingSocket: the same operations as calls that wait and return as in the socket module.",
     nullptr},
    {"outstanding", guarded<get_outstanding>, nullptr,
     "The number of accepted operations whose completion was not handed out yet.", nullptr},
    {"skip_done_packets", guarded<get_skip_done_packets>, guarded<set_skip_done_packets>,
     "Whether a single operation that its post finishes leaves no completion. Its callback is\n"
     "then not called, get() does not return it, and the Operation has the whole result.\n"
     "Pending and queued operations complete as usual. Starts as the port's setting. May be\n"
     "changed at any time, for the posts that follow.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "A socket whose operations complete through its port. Port.socket(), listen(), connect(),\n"
    "adopt() and accepting make it.\n\n"
    "Single operations (recv, send, ...) return an Operation; their callbacks get a\n"
    "Completion. The stream level (accept_each, receive) is for servers: the core posts again\n"
    "by itself. Every method may be called from any thread.";

}  // namespace

PyTypeObject* make_socket_type(PyObject* module) {
    static const auto methods = [] {
        std::array<PyMethodDef, 64> all{};
        std::size_t used = 0;
        for (const PyMethodDef& method : life_methods) {
            all.at(used++) = method;
        }
        for (const PyMethodDef* table :
             {ending_methods, option_methods, flow_methods, operation_methods, message_methods,
              subscription_methods}) {
            for (const PyMethodDef* at = table; at->ml_name != nullptr; ++at) {
                all.at(used++) = *at;
            }
        }
        return all;
    }();
    static const auto properties = [] {
        std::array<PyGetSetDef, 40> all{};
        std::size_t used = 0;
        for (const PyGetSetDef* table :
             {life_properties, flow_properties, tuning_properties, option_properties}) {
            for (const PyGetSetDef* at = table; at->name != nullptr; ++at) {
                all.at(used++) = *at;
            }
        }
        return all;
    }();
    PyType_Slot slots[] = {
        {Py_tp_doc, const_cast<char*>(documentation)},
        {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
        {Py_tp_finalize, reinterpret_cast<void*>(guarded<finalize>)},
        {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse>)},
        {Py_tp_clear, reinterpret_cast<void*>(guarded<clear>)},
        {Py_tp_repr, reinterpret_cast<void*>(guarded<represent>)},
        {Py_tp_methods, const_cast<PyMethodDef*>(methods.data())},
        {Py_tp_getset, const_cast<PyGetSetDef*>(properties.data())},
        {0, nullptr},
    };
    PyType_Spec spec = {"iocp_sock._core.Socket", sizeof(SocketObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                        slots};
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

SocketObject* blank_socket(PyObject* port, PortObject& binding) {
    auto* socket = PyObject_GC_New(SocketObject, binding.types->socket);
    if (socket == nullptr) {
        return nullptr;
    }
    socket->port = Py_NewRef(port);
    socket->binding = &binding;
    socket->core.set(nullptr);
    socket->on_item = nullptr;
    socket->on_close = nullptr;
    socket->on_error = nullptr;
    socket->on_pause = nullptr;
    socket->on_resume = nullptr;
    socket->user = nullptr;
    socket->links = {};
    socket->family = 0;
    socket->protocol = 0;
    socket->type = 0;
    socket->subscribed.store(0, std::memory_order_relaxed);
    socket->ending.store(false, std::memory_order_relaxed);
    socket->blamed = false;
    socket->subscribing = false;
    socket->names_peers = false;
    allow_take_reference(reinterpret_cast<PyObject*>(socket));
    PyObject_GC_Track(reinterpret_cast<PyObject*>(socket));
    return socket;
}

void attach(SocketObject& socket, Socket& core) noexcept {
    socket.core.set(&core);
    socket.family = core.family;
    socket.protocol = core.protocol;
    socket.type = core.type;
    core.user = &socket;
}

SocketObject* new_socket(PyObject* port, PortObject& binding, Socket& accepted) {
    SocketObject* socket = blank_socket(port, binding);
    if (socket == nullptr) {
        locked(binding, [&] {
            binding.core->sockets().refuse(accepted);
            return 0;
        });
        return nullptr;
    }
    {
        const std::lock_guard guard(binding.links_mutex);
        attach(*socket, accepted);
    }
    claim(binding, accepted);
    return socket;
}

// Without the port's lock another socket may have the slot meanwhile, so the name is checked again
// once a reference keeps the object.
PyObject* receiver_of(PortObject& port, SlotId name) {
    const auto find = [&] { return locked(port, [&] { return port.core->sockets().find(name); }); };
    Socket* core = find();
    auto* socket = core != nullptr ? object_of<SocketObject>(port, core->user) : nullptr;
    if (socket == nullptr) {
        return nullptr;
    }
    const Held kept(reinterpret_cast<PyObject*>(socket));
    Held receiver(find() == socket->core.get() ? stored(port, socket->on_close) : nullptr);
    return receiver.get() != nullptr && port.types->sink.is_type_of(receiver.get())
               ? receiver.release()
               : nullptr;
}

void claim(PortObject& port, Socket& accepted) {
    locked(port, [&] {
        port.core->sockets().claim(accepted);
        return 0;
    });
}

}  // namespace iocp::py
