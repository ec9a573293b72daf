// Socket as Python sees it: its life and its type. Its names and options are in socket_options.cpp,
// socket_tuning.cpp and socket_flow.cpp, what it posts in socket_operations.cpp,
// socket_messages.cpp and socket_subscriptions.cpp.
#include <cerrno>
#include <cstring>

#include "backend/families.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/arguments.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/pickling.hpp"

namespace iocp::py {

namespace {

SocketObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<SocketObject*>(self); }

int traverse(PyObject* self, visitproc visit, void* arg) {
    SocketObject& socket = self_of(self);
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
    SocketObject& socket = self_of(self);
    for (PyObject* SocketObject::*which :
         {&SocketObject::on_item, &SocketObject::on_close, &SocketObject::on_error,
          &SocketObject::on_pause, &SocketObject::on_resume, &SocketObject::user}) {
        forget(*socket.binding, socket.*which);
    }
    return 0;
}

void finalize(PyObject* self) {
    SocketObject& socket = self_of(self);
    if (socket.ending || socket.binding->forked() ||
        !peek(socket, false, [](const Socket& core) { return core.life == Life::open; })) {
        return;  // a port that closes, or an error, may end a socket before its object hears of it
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

// Nothing refers to the object any more: no operation, no subscription. The core closes what is
// open, which it finds by name: its own thread may have closed it since the link was cut.
void dealloc(PyObject* self) {
    SocketObject& socket = self_of(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    PortObject& port = *socket.binding;
    if (!port.forked()) {
        if (const std::optional<SlotId> name = cut_from_object(port, socket)) {
            locked(port, [&] {
                if (Socket* core = port.core->sockets().find(*name)) {
                    port.core->close(*core, -1);
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

// ", name=address", or nothing for what has none.
PyObject* named(const char* name, const Address& address) {
    PyObject* shown = address.length != 0 ? from_address(address) : Py_NewRef(Py_None);
    PyObject* text = shown == nullptr   ? nullptr
                     : shown == Py_None ? PyUnicode_FromString("")
                                        : PyUnicode_FromFormat(", %s=%R", name, shown);
    Py_XDECREF(shown);
    return text;
}

PyObject* represent(PyObject* self) {
    SocketObject& socket = self_of(self);
    const Seen seen = peek(socket, Seen{}, [&](const Socket& core) {
        Seen found;
        found.state = "closing";
        if (core.life != Life::open || socket.ending) {
            return found;
        }
        found.state = core.connected ? "connected" : "open";
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
    SocketObject& socket = self_of(self);
    PyObject* user = stored(*socket.binding, socket.user);
    return user != nullptr ? user : Py_NewRef(Py_None);
}
int set_user(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = self_of(self);
    PyObject* user = given == Py_None ? nullptr : Py_XNewRef(given);
    Py_XDECREF(replaced(*socket.binding, socket.user, user));
    return 0;
}

PyObject* get_port(PyObject* self, void* /*unused*/) { return Py_NewRef(self_of(self).port); }
PyObject* get_family(PyObject* self, void* /*unused*/) {
    return PyLong_FromLong(self_of(self).family);
}
PyObject* get_type(PyObject* self, void* /*unused*/) { return PyLong_FromLong(self_of(self).type); }
PyObject* get_proto(PyObject* self, void* /*unused*/) {
    return PyLong_FromLong(self_of(self).protocol);
}

// A figure of the core's socket; 0 once it is closed.
template <class Read>
PyObject* figure(PyObject* self, Read&& read) {
    SocketObject& socket = self_of(self);
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
    SocketObject& socket = self_of(self);
    if (!socket.core.linked() || socket.binding->forked()) {
        Py_RETURN_TRUE;
    }
    const bool closed = peek(socket, true, [&](const Socket& core) {
        return core.holds_address() ? core.life == Life::closed
                                    : socket.ending || core.life != Life::open;
    });
    return PyBool_FromLong(closed ? 1 : 0);
}
PyObject* get_charged(PyObject* self, void* /*unused*/) {
    return figure(self, [](const Socket& core) { return core.charged_pages * system_page_size(); });
}
PyObject* get_queued_bytes(PyObject* self, void* /*unused*/) {
    const Port& port = *self_of(self).binding->core;
    return figure(self, [&](const Socket& core) { return port.queued_bytes(core); });
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
        peek(self_of(self), false, [](const Socket& core) { return bool{core.skip_done}; });
    return PyBool_FromLong(skip ? 1 : 0);
}
int set_skip_done_packets(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = self_of(self);
    if (given == nullptr || !PyBool_Check(given)) {
        raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
              "skip_done_packets is True or False");
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
    SocketObject& socket = self_of(self);
    const Handle handle = peek(socket, no_handle, [&](const Socket& core) {
        return !socket.ending && core.life == Life::open ? core.handle : no_handle;
    });
    return PyLong_FromSsize_t(handle);
}

PyObject* shutdown(PyObject* self, PyObject* given) {
    SocketObject& socket = self_of(self);
    int how = -1;
    if (!to_int(*socket.binding->types, given, "how", how)) {
        return nullptr;
    }
    if (how < 0 || how > 2) {
        return raise(*socket.binding->types, ErrorClass::argument, EINVAL,
                     "shutdown() takes SHUT_RD, SHUT_WR or SHUT_RDWR");
    }
    if (!with_open(socket, [&](Socket& core) {
            return socket.binding->core->shutdown(core, how != 1, how != 0);
        })) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* available(PyObject* self, PyObject* /*unused*/) {
    std::int64_t bytes = 0;
    if (!with_open(self_of(self), [&](Socket& core) -> Error {
            Port& port = *self_of(self).binding->core;
            bytes = port.backend().available(core);
            return bytes < 0 ? port.system_error(static_cast<int>(-bytes)) : Error{};
        })) {
        return nullptr;
    }
    return PyLong_FromLongLong(bytes);
}

PyObject* cancel(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = self_of(self);
    if (!usable(*socket.binding)) {
        return nullptr;
    }
    const unsigned count = locked(*socket.binding, [&] {
        Socket* core = socket.core.get();
        return core != nullptr ? socket.binding->core->cancel_all(*core) : 0U;
    });
    return PyLong_FromUnsignedLong(count);
}

enum class Ending : std::uint8_t { closed, ending_already, begun };

// From here on the port keeps the object until the socket is closed. `cause`: the exception of a
// callback, for on_close.
Ending begin_ending(SocketObject& socket, PyObject* cause) {
    PortObject& port = *socket.binding;
    if (port.forked()) {
        return Ending::closed;
    }
    auto* object = reinterpret_cast<PyObject*>(&socket);
    Ending outcome = Ending::closed;
    PyObject* on_item = nullptr;
    bool kept = false;
    Py_INCREF(object);
    {
        const std::lock_guard guard(port.links_mutex);
        // Once the socket is closed the port is told of nothing that would make it let go again.
        if (socket.core.linked()) {
            outcome = socket.ending.exchange(true) ? Ending::ending_already : Ending::begun;
        }
        if (outcome == Ending::begun && cause != nullptr) {
            on_item = std::exchange(socket.on_item, Py_NewRef(cause));
            socket.blamed = true;
        }
        kept = outcome == Ending::begun && !socket.links.linked();
        if (kept) {
            port.sockets.add(socket);
        }
    }
    Py_XDECREF(on_item);
    if (!kept) {
        Py_DECREF(object);
    }
    return outcome;
}
bool begin_ending(SocketObject& socket) { return begin_ending(socket, nullptr) != Ending::closed; }

PyObject* close(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<1> signature{"close", {"timeout"}, 1, 0};
    SocketObject& socket = self_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 1> arguments{};
    std::int64_t timeout = -1;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_timeout(types, arguments[0], timeout)) {
        return nullptr;
    }
    if (begin_ending(socket)) {
        locked(*socket.binding, [&] {
            if (Socket* core = socket.core.get()) {
                socket.binding->core->close(*core, timeout);
            }
            return 0;
        });
    }
    Py_RETURN_NONE;
}

PyObject* abort_socket(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = self_of(self);
    if (begin_ending(socket)) {
        locked(*socket.binding, [&] {
            if (Socket* core = socket.core.get()) {
                socket.binding->core->abort(*core);
            }
            return 0;
        });
    }
    Py_RETURN_NONE;
}

PyObject* detach(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = self_of(self);
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return nullptr;
    }
    Handle handle = no_handle;
    bool closed = false;
    bool idle = false;
    const auto check = [&](const Socket* core) -> Error {
        if (core == nullptr || core->life != Life::open) {
            return Error::of(Fault::socket_closed, "the socket is closed");
        }
        if (core->releasing != 0) {
            return Error::of(Fault::argument,
                             "a direct send is on its way from memory that is held; wait for its "
                             "completion before detach()");
        }
        return {};
    };
    Error refused = locked(port, [&]() -> Error {
        const Socket* core = socket.core.get();
        idle = core != nullptr && Port::idle(*core);
        return check(core);
    });
    if (refused) {
        return raise(&port, *port.types, refused);
    }
    const RunnerHold runner(port);
    if (!idle) {
        // Only who runs the port can take operations back: found out before anything is cancelled.
        if (!port.core->shared() && !runner.here()) {
            return raise(*port.types, ErrorClass::wrong_thread, EPERM,
                         "operations are outstanding, and another thread runs the port: only that "
                         "thread can take them back for detach()");
        }
        Error failed;
        detached([&] { failed = port.core->collect(0); });
        if (failed) {
            return raise(&port, *port.types, failed);
        }
    }
    // What was collected may have ended the socket: a reset, or another thread's close().
    std::uint64_t seen = 0;
    refused = locked(port, [&]() -> Error {
        Socket* core = socket.core.get();
        const Error found = check(core);
        if (!found) {
            handle = core->handle;
            port.core->detach(*core);
            closed = core->life == Life::closed;
            seen = port.core->turns();
        }
        return found;
    });
    if (refused) {
        return raise(&port, *port.types, refused);
    }
    (void)begin_ending(socket);
    while (!closed) {
        Error failed;
        detached([&] { failed = port.core->collect(port.core->now() + 1'000'000'000, seen); });
        if (failed) {
            return raise(&port, *port.types, failed);
        }
        if (PyErr_CheckSignals() != 0) {
            return nullptr;
        }
        closed = locked(port, [&] {
            seen = port.core->turns();
            const Socket* core = socket.core.get();
            return core == nullptr || core->life == Life::closed;
        });
    }
    return PyLong_FromSsize_t(handle);
}

PyObject* enter(PyObject* self, PyObject* /*unused*/) { return Py_NewRef(self); }

PyObject* leave(PyObject* self, PyObject* /*unused*/) { return close(self, nullptr, 0, nullptr); }

PyMethodDef life_methods[] = {
    {"fileno", guarded<fileno>, METH_NOARGS,
     "fileno() -> int\n\nThe descriptor, or -1 once closed."},
    {"detach", guarded<detach>, METH_NOARGS,
     "detach() -> int\n\nCancels what is outstanding, waits until the kernel has given it back, "
     "and "
     "hands the open\ndescriptor to the caller; the Socket is closed, the connection is not.\n"
     "Raises SocketClosed, WrongThread."},
    {"shutdown", guarded<shutdown>, METH_O,
     "shutdown(how) -> None\n\nSHUT_WR follows the sends queued before it: the peer sees the end "
     "of "
     "stream behind them."},
    {"available", guarded<available>, METH_NOARGS,
     "available() -> int\n\nBytes that can be read now (FIONREAD); 0 also at end of stream."},
    {"cancel", guarded<cancel>, METH_NOARGS,
     "cancel() -> int\n\nAsks for the end of every outstanding operation; returns how many were "
     "asked."},
    {"close", fast(guarded<close>), METH_FASTCALL | METH_KEYWORDS,
     "close(timeout=None) -> None\n\nQueued sends go out first; receives are cancelled at once. "
     "After "
     "timeout seconds in which the peer\ntook no byte (None: the port's close_timeout; 0: at once) "
     "it "
     "gives up: the connection is reset, and what was\nleft ends with TimedOut, as on_close says. "
     "Returns immediately: the port does it while it runs.\nClosing twice is no error."},
    {"abort", guarded<abort_socket>, METH_NOARGS,
     "abort() -> None\n\nResets the connection: nothing queued goes out, the peer sees a reset."},
    {"__enter__", guarded<enter>, METH_NOARGS, nullptr},
    {"__exit__", guarded<leave>, METH_VARARGS, nullptr},
    no_pickling,
};

PyGetSetDef life_properties[] = {
    {"port", guarded<get_port>, nullptr, "The Port it belongs to.", nullptr},
    {"user", guarded<get_user>, guarded<set_user>,
     "For the caller's own use: any object, None at first. It is kept until the Socket itself "
     "goes.",
     nullptr},
    {"family", guarded<get_family>, nullptr, "Address family, such as socket.AF_INET.", nullptr},
    {"type", guarded<get_type>, nullptr, "Socket type, such as socket.SOCK_STREAM.", nullptr},
    {"proto", guarded<get_proto>, nullptr, "Protocol number.", nullptr},
    {"closed", guarded<get_closed>, nullptr,
     "close() was called, or an error closed it. Of a listener and of a datagram socket also that "
     "its\naddress is free again: at once, or, where another thread runs the port, a turn later.",
     nullptr},
    {"charged", guarded<get_charged>, nullptr,
     "Bytes of whole pages that its unfinished operations keep locked.", nullptr},
    {"queued_bytes", guarded<get_queued_bytes>, nullptr,
     "Bytes of accepted sends, and of files, that are still to go to the system.", nullptr},
    {"blocking", guarded<get_blocking>, nullptr,
     "The same operations as calls that wait and return what the socket module's do: a "
     "BlockingSocket.",
     nullptr},
    {"outstanding", guarded<get_outstanding>, nullptr,
     "Accepted operations whose completion was not handed out.", nullptr},
    {"skip_done_packets", guarded<get_skip_done_packets>, guarded<set_skip_done_packets>,
     "Whether a single operation that is done by its post leaves no completion: its callback is "
     "not\n"
     "called, get() does not see it, and all it came to is in the Operation. What was pending or "
     "queued\n"
     "completes as ever. Starts as the port's; may be changed at any time, for the posts that "
     "follow.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "A socket whose operations complete through its port. Made by Port.socket(), listen(),\n"
    "connect(), adopt() and by accepting.\n\n"
    "Single operations (recv, send, ...) return an Operation; their callbacks get a Completion. "
    "The\n"
    "stream level (accept_each, receive) is for servers: the core posts again by itself. Every "
    "method\n"
    "may be called from any thread.";

}  // namespace

void close_for(SocketObject& socket, PyObject* exception) {
    if (socket.type != type_stream || begin_ending(socket, exception) != Ending::begun) {
        return;
    }
    locked(*socket.binding, [&] {
        if (Socket* core = socket.core.get()) {
            socket.binding->core->close(*core, 0);
        }
        return 0;
    });
}

PyTypeObject* make_socket_type(PyObject* module) {
    static const auto methods = [] {
        std::array<PyMethodDef, 64> all{};
        std::size_t used = 0;
        for (const PyMethodDef& method : life_methods) {
            all.at(used++) = method;
        }
        for (const PyMethodDef* table : {option_methods, flow_methods, operation_methods,
                                         message_methods, subscription_methods}) {
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

SocketObject* new_socket(PyObject* port, PortObject& binding, Socket& core) {
    SocketObject* socket = blank_socket(port, binding);
    if (socket == nullptr) {
        locked(binding, [&] {
            binding.core->refuse(core);
            return 0;
        });
        return nullptr;
    }
    {
        const std::lock_guard guard(binding.links_mutex);
        attach(*socket, core);
    }
    claim(binding, core);
    return socket;
}

void claim(PortObject& port, Socket& accepted) {
    locked(port, [&] {
        port.core->claim(accepted);
        return 0;
    });
}

}  // namespace iocp::py
