// The class Port and its configuration: a class of pybind11, whose methods are rows of a method
// table (bindings/keywords.hpp).

#include "bindings/bind_port.hpp"

#include <pybind11/pybind11.h>

#include <cerrno>
#include <limits>

#include "backend/sim/world.hpp"
#include "base/page_span.hpp"
#include "bindings/arguments.hpp"
#include "bindings/checked.hpp"
#include "bindings/errors.hpp"
#include "bindings/keywords.hpp"
#include "bindings/links.hpp"
#include "bindings/otherwise.hpp"
#include "bindings/port_figures.hpp"
#include "bindings/port_object.hpp"
#include "bindings/posted_packet.hpp"
#include "bindings/registered_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/timer_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

void post(const pb::object& self, const pb::object& value, const pb::object& callback) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    PyObject* given = nullptr;
    if (!to_callback(*port.types, callback.ptr(), given)) {
        throw_set();
    }
    auto* packet = new PostedPacket(value.ptr(), given);
    (void)link(port, port.packets, *packet);
    const Error error = locked(port, [&] {
        const Error refused = port.core->operations().post_packet(packet);
        packet->accepted = !refused;
        return refused;
    });
    if (error) {
        (void)unlink(port, port.packets, *packet);
        delete packet;
        raise(&port, *port.types, error);
        throw_set();
    }
}

pb::object call_later(const pb::object& self, const pb::object& delay, const pb::object& callback) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    std::int64_t nanoseconds = -1;
    PyObject* given = nullptr;
    if (!to_timeout(*port.types, delay.ptr(), nanoseconds) ||
        !to_callback(*port.types, callback.ptr(), given)) {
        throw_set();
    }
    if (given == nullptr || delay.is_none()) {
        raise(*port.types, ErrorClass::argument, EINVAL,
              "call_later() needs a delay in seconds, 0 or more, and a callable; neither may be "
              "None");
        throw_set();
    }
    PyObject* timer =
        new_timer(self.ptr(), port,
                  nanoseconds < 0 ? std::numeric_limits<std::int64_t>::max() : nanoseconds, given);
    if (timer == nullptr) {
        throw_set();
    }
    return pb::reinterpret_steal<pb::object>(timer);
}

double time_of(const pb::object& self) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    return static_cast<double>(locked(port, [&] { return port.core->after(0); })) / 1e9;
}

void wake(const pb::object& self) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    locked(port, [&] {
        port.core->wake();
        return 0;
    });
}

// Makes the Python object Socket before the core's socket, because no thread may find a core socket
// without its Python object.
template <class Open>
pb::object opened(const pb::object& self, PortObject& port, Open&& open) {
    SocketObject* socket = blank_socket(self.ptr(), port);
    if (socket == nullptr) {
        throw_set();
    }
    auto object = pb::reinterpret_steal<pb::object>(reinterpret_cast<PyObject*>(socket));
    const Error error = locked(port, [&] {
        Socket* core = nullptr;
        const Error refused = open(core);
        if (!refused) {
            attach(*socket, *core);
        }
        return refused;
    });
    if (error) {
        raise(&port, *port.types, error);
        throw_set();
    }
    return object;
}

pb::object make_socket(const pb::object& self, const pb::object& family, const pb::object& type,
                       const pb::object& protocol) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    int numbers[3] = {0, 0, 0};
    if (!to_int(*port.types, family.ptr(), "family", numbers[0]) ||
        !to_int(*port.types, type.ptr(), "type", numbers[1]) ||
        !to_int(*port.types, protocol.ptr(), "proto", numbers[2])) {
        throw_set();
    }
    return opened(self, port, [&](Socket*& core) {
        return port.core->sockets().open(numbers[0], numbers[1], numbers[2], core);
    });
}

pb::object register_memory(const pb::object& self, const pb::object& nbytes) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    Py_ssize_t size = 0;
    if (!to_size(*port.types, nbytes.ptr(), "nbytes", 1, size)) {
        throw_set();
    }
    PyObject* memory = new_registered(self.ptr(), port, static_cast<std::size_t>(size));
    if (memory == nullptr) {
        throw_set();
    }
    return pb::reinterpret_steal<pb::object>(memory);
}

// Returns the native receiver of the socket of this name, or None.
pb::object receiver(const pb::object& self, const pb::object& name) {
    auto& port = self.cast<PortObject&>();
    const std::uint64_t packed = PyLong_AsUnsignedLongLong(name.ptr());
    if (packed == ~std::uint64_t{0} && PyErr_Occurred() != nullptr) {
        throw_set();
    }
    if (!port.usable()) {
        return pb::none();
    }
    PyObject* found = receiver_of(port, SlotId::unpack(packed));
    return found != nullptr ? pb::reinterpret_steal<pb::object>(found) : pb::none();
}

int to_descriptor(const PortObject& port, const pb::object& given, const char* wanted) {
    int number = -1;
    if (!PyLong_Check(given.ptr())) {
        raise(*port.types, ErrorClass::argument_type, EINVAL, wanted);
        throw_set();
    }
    if (!to_int(*port.types, given.ptr(), "a descriptor", number)) {
        throw_set();
    }
    return number;
}

pb::object watch(const pb::object& self, const pb::object& handle) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    const int number = to_descriptor(port, handle, "watch() needs a descriptor (an int)");
    return opened(self, port,
                  [&](Socket*& core) { return port.core->sockets().watch(number, core); });
}

pb::object watch_handle(const pb::object& self, const pb::object& handle) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    const int number = to_descriptor(port, handle, "watch_handle() needs a handle (an int)");
    return opened(self, port,
                  [&](Socket*& core) { return port.core->sockets().watch_object(number, core); });
}

pb::object adopt(const pb::object& self, const pb::object& handle, const pb::object& nonblocking,
                 const pb::object& borrow) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    const bool was_nonblocking =
        to_flag(*port.types, nonblocking, "nonblocking must be True or False");
    const bool borrowed = to_flag(*port.types, borrow, "borrow must be True or False");
    const int number =
        to_descriptor(port, handle, "adopt() needs a socket.socket or a descriptor (an int)");
    return opened(self, port, [&](Socket*& core) {
        return port.core->sockets().adopt({number, was_nonblocking, borrowed}, core);
    });
}

std::int64_t to_nanoseconds(const pb::object& seconds) {
    return static_cast<std::int64_t>(seconds.cast<double>() * 1e9);
}

AdaptiveRule rule_of(const pb::object& given) {
    AdaptiveRule rule;
    rule.messages = given.attr("messages").cast<std::uint32_t>();
    rule.window = to_nanoseconds(given.attr("window"));
    rule.idle = to_nanoseconds(given.attr("idle"));
    rule.budget_percent = given.attr("budget_percent").cast<std::uint32_t>();
    const pb::object busy = given.attr("busy");
    if (!busy.is_none()) {
        rule.busy = busy.cast<std::string>() == "direct" ? ReceiveStrategy::direct
                                                         : ReceiveStrategy::pooled;
    }
    return rule;
}

PortOptions options_of(const pb::object& config) {
    PortOptions options;
    const auto nanoseconds = [&](const char* name) { return to_nanoseconds(config.attr(name)); };
    options.budget_bytes = config.attr("budget").cast<std::size_t>();
    options.caps.port_receives = config.attr("max_receives").cast<std::uint32_t>();
    options.caps.port_sends = config.attr("max_sends").cast<std::uint32_t>();
    options.caps.socket_receives = config.attr("max_socket_receives").cast<std::uint32_t>();
    options.caps.socket_sends = config.attr("max_socket_sends").cast<std::uint32_t>();
    const auto policy = config.attr("over_budget").cast<std::string>();
    options.over_budget = policy == "queue"     ? OverBudget::queue
                          : policy == "degrade" ? OverBudget::degrade
                                                : OverBudget::raise;
    options.region_size = config.attr("region_size").cast<std::size_t>();
    options.region_limit = config.attr("region_limit").cast<std::size_t>();
    options.backend.ring_entries = config.attr("ring_entries").cast<std::uint32_t>();
    const pb::object backend = config.attr("backend");
    if (!pb::isinstance<pb::str>(backend)) {
        options.backend.world = backend.attr("world").cast<std::shared_ptr<sim::World>>();
    }
    options.backend.posted_accepts = config.attr("posted_accepts").cast<std::uint32_t>();
    options.drain.reads = config.attr("drain_reads").cast<std::uint32_t>();
    options.drain.bytes = config.attr("drain_bytes").cast<std::size_t>();
    options.queue_patience = nanoseconds("queue_patience");
    options.defaults.marks.high = config.attr("send_high").cast<std::uint32_t>();
    options.defaults.marks.low = config.attr("send_low").cast<std::uint32_t>();
    options.defaults.marks.cap = config.attr("send_cap").cast<std::uint32_t>();
    options.caps.max_connections = config.attr("max_connections").cast<std::uint32_t>();
    options.idle_timeout = nanoseconds("idle_timeout");
    options.adaptive = rule_of(config.attr("adaptive"));
    options.defaults.skip_done = config.attr("skip_done_packets").cast<bool>();
    options.defaults.nodelay = config.attr("nodelay").cast<bool>();
    options.latency = config.attr("latency").cast<bool>();
    options.concurrency = config.attr("_threads").cast<unsigned>();
    options.in_order = config.attr("in_order").cast<bool>();
    options.backend.shared = options.concurrency != 0;
    options.close_timeout = nanoseconds("close_timeout");
    return options;
}

std::unique_ptr<PortObject> make_port(const pb::object& config) {
    const pb::module_ module = pb::module_::import("iocp_sock._core");
    const pb::capsule reference = module.attr("_types");
    auto* types = reference.get_pointer<Types>();
    std::unique_ptr<PortObject> port(::new PortObject(types, reference.ptr(), options_of(config),
                                                      pb::str(config.attr("backend"))));
    if (port->core == nullptr) {
        const BackendReason& why = port->backend_reason;
        const int number = why.code != 0 ? why.code : ENOSYS;
        raise(*types, why.exhausted ? ErrorClass::exhausted : ErrorClass::unavailable, number,
              why.text.c_str());
        throw_set();
    }
    port->closes_on_error = pb::str(config.attr("on_callback_error")).equal(pb::str("close"));
    return port;
}

void construct(const pb::object& self, const pb::object& config) {
    std::unique_ptr<PortObject> port = make_port(config);
    port->self = self.ptr();
    give_value<PortObject>(self, std::move(port));
}

PortObject* constructed(PyObject* self) {
    return pb::detail::is_holder_constructed(self) ? pb::cast<PortObject*>(pb::handle(self))
                                                   : nullptr;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    const PortObject* port = constructed(self);
    return port != nullptr ? port->traverse(visit, arg) : 0;
}

int clear_port(PyObject* self) {
    PortObject* port = constructed(self);
    if (port != nullptr) {
        forget(*port, port->error_handler);
        port->clear();
    }
    return 0;
}

constexpr Signature<1> construct_arguments{"Port", {"config"}, 1, 1};
constexpr Signature<3> make_socket_arguments{"socket", {"family", "type", "proto"}, 3, 3};
constexpr Signature<1> register_memory_arguments{"register", {"nbytes"}, 1, 1};
constexpr Signature<3> adopt_arguments{"adopt", {"handle", "nonblocking", "borrow"}, 3, 1};
constexpr Signature<1> watch_arguments{"watch", {"fd"}, 1, 1};
constexpr Signature<1> receiver_arguments{"_receiver", {"name"}, 1, 1};
constexpr Signature<1> watch_handle_arguments{"watch_handle", {"handle"}, 1, 1};
constexpr Signature<1> run_arguments{"run", {"until_idle"}, 0, 0};
constexpr Signature<1> run_once_arguments{"run_once", {"timeout"}, 1, 0};
constexpr Signature<0> enter_arguments{"_enter", {}, 0, 0};
constexpr Signature<1> get_arguments{"get", {"timeout"}, 1, 0};
constexpr Signature<2> get_batch_arguments{"get_batch", {"n", "timeout"}, 2, 1};
constexpr Signature<2> post_arguments{"post", {"value", "callback"}, 1, 0};
constexpr Signature<2> call_later_arguments{"call_later", {"delay", "callback"}, 2, 2};
constexpr Signature<0> time_of_arguments{"time", {}, 0, 0};
constexpr Signature<0> stop_arguments{"stop", {}, 0, 0};
constexpr Signature<0> wake_arguments{"wake", {}, 0, 0};
constexpr Signature<1> close_arguments{"close", {"timeout"}, 1, 0};

PyMethodDef methods[] = {
    {"__init__", fast(guarded<initializer<construct_arguments, construct>>), keywords_call,
     nullptr},
    {"socket", fast(guarded<method<make_socket_arguments, make_socket>>), keywords_call, nullptr},
    {"register", fast(guarded<method<register_memory_arguments, register_memory>>), keywords_call,
     "register(nbytes) -> RegisteredMemory\n\n"
     "Registers nbytes of page-aligned, zeroed memory with the kernel (io_uring fixed buffers)\n"
     "and returns it. The memory is locked and counted against the budget until it is\n"
     "released. The kernel pins it once, not for each direct send. Only the thread that runs\n"
     "the port may call this. Raises BudgetExceeded, ResourceExhausted (the system's limit of\n"
     "locked memory refused the memory, or earlier the port's ring), WrongThread, and\n"
     "ArgumentError where the backend has no registered memory."},
    {"_watch", fast(guarded<method<watch_arguments, watch>>), keywords_call, nullptr},
    {"_receiver", fast(guarded<method<receiver_arguments, receiver>>), keywords_call, nullptr},
    {"watch_handle", fast(guarded<method<watch_handle_arguments, watch_handle>>), keywords_call,
     "watch_handle(handle) -> Socket\n\n"
     "Watches an object of Windows by its handle: a process, a thread, an event, a timer. The\n"
     "Socket takes recv_zero() only, which completes once the object is signalled. The handle\n"
     "stays the caller's, who closes it after the Socket. Raises OSError for a handle that is\n"
     "not open, for that of a file or socket, and on every other system."},
    {"_enter", fast(guarded<method<enter_arguments, enter>>), keywords_call, nullptr},
    {"_adopt", fast(guarded<method<adopt_arguments, adopt>>), keywords_call, nullptr},
    {"run", fast(guarded<method<run_arguments, run>>), keywords_call,
     "run(*, until_idle=False) -> None\n\n"
     "Runs callbacks until stop() is called or the port is closed. With until_idle it also\n"
     "returns when nothing is outstanding. KeyboardInterrupt ends it at once. Raises\n"
     "PortClosed, PortRunning, WrongThread."},
    {"run_once", fast(guarded<method<run_once_arguments, run_once>>), keywords_call,
     "run_once(timeout=None) -> int\n\n"
     "Waits at most timeout seconds (None: no limit) until something is ready, and runs the\n"
     "callbacks of all ready completions. Returns the number of completions: 0 after wake() or\n"
     "at the timeout."},
    {"get", fast(guarded<method<get_arguments, get>>), keywords_call,
     "get(timeout=None) -> Completion or None\n\n"
     "Returns the next Completion of an operation or packet that has no callback. Returns None\n"
     "after timeout seconds or a wake(). Runs the callbacks that become due meanwhile."},
    {"get_batch", fast(guarded<method<get_batch_arguments, get_batch>>), keywords_call,
     "get_batch(n, timeout=None) -> list of Completion\n\n"
     "Returns 1 to n completions as get() does; an empty list at the timeout."},
    {"post", fast(guarded<method<post_arguments, post>>), keywords_call,
     "post(value=None, *, callback=None) -> None\n\n"
     "Posts a packet, from any thread. The thread that runs the port calls\n"
     "callback(completion), with value as completion.value. Without a callback get() returns\n"
     "the Completion."},
    {"call_later", fast(guarded<method<call_later_arguments, call_later>>), keywords_call,
     "call_later(delay, callback) -> Timer\n\n"
     "Calls callback() after delay seconds, and returns the Timer."},
    {"time", fast(guarded<method<time_of_arguments, time_of>>), keywords_call,
     "time() -> float\n\n"
     "Returns the time of the port's clock: seconds, monotonic."},
    {"stop", fast(guarded<method<stop_arguments, stop>>), keywords_call,
     "stop() -> None\n\n"
     "Makes run() return after its current turn."},
    {"wake", fast(guarded<method<wake_arguments, wake>>), keywords_call,
     "wake() -> None\n\n"
     "Ends the wait of the thread that runs the port. May be called from any thread."},
    {"close", fast(guarded<method<close_arguments, close>>), keywords_call,
     "close(timeout=None) -> None\n\n"
     "Closes every socket, runs the completions that follow, and closes the port. Queued sends\n"
     "get timeout seconds (None: close_timeout). If another thread runs the port, or this call\n"
     "comes from a callback, the call that runs the port closes the port and then returns."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void* PortObject::operator new(std::size_t /*bytes*/) {
    throw pb::type_error("Port.__init__() has to be called before any other method of the port");
}

void bind_port(pb::module_& module) {
    pb::class_<PortObject>(module, "Port", pb::custom_type_setup([](PyHeapTypeObject* heap_type) {
                               PyTypeObject& type = heap_type->ht_type;
                               type.tp_flags |= Py_TPFLAGS_HAVE_GC;
                               type.tp_new = guarded<new_instance>;
                               type.tp_traverse = traverse;
                               type.tp_clear = clear_port;
                           }))
        .def("__reduce__", &no_reduction)
        .def_property_readonly(
            "backend", [](const PortObject& port) { return port.backend_name; },
            "The name of the backend: 'uring' or 'epoll', 'iocp', or 'sim'.")
        .def_property_readonly(
            "backend_reason", [](const PortObject& port) { return port.backend_reason.text; },
            "The reason for the choice of this backend.")
        .def_property_readonly(
            "closed", [](const PortObject& port) { return port.closed.load(); },
            "Whether the port is closed.")
        .def_property_readonly(
            "outstanding",
            [](PortObject& port) {
                require_not_forked(port);
                return locked(port, [&] { return port.core->operations().outstanding(); });
            },
            "The number of accepted operations whose completion was not handed out yet.")
        .def_property(
            "error_handler",
            [](PortObject& port) {
                const auto handler =
                    pb::reinterpret_steal<pb::object>(stored(port, port.error_handler));
                return handler ? handler : pb::none();
            },
            [](PortObject& port, const pb::object& handler) {
                PyObject* given = nullptr;
                if (!to_callback(*port.types, handler.ptr(), given)) {
                    throw_set();
                }
                Py_XDECREF(replaced(port, port.error_handler, Py_XNewRef(given)));
            },
            "Called as handler(exception, callback) when a callback raises. None leaves the\n"
            "exception to sys.unraisablehook. KeyboardInterrupt and SystemExit never go to the\n"
            "handler: they end run().")
        .def("_take_routines",
             [](PortObject& port) {
                 require_usable(port);
                 port.takes_routines = true;
                 // Claims the io_uring ring for this thread. Otherwise the first thread that waits
                 // would own the ring.
                 (void)locked(port,
                              [&] { return port.closed ? Error{} : port.core->backend().claim(); });
             })
        .def("_ledger", &ledger_of)
        .def("_figures", &figures_of, pb::arg("sockets"))
        .def("_start_trace", &start_trace, pb::arg("events"))
        .def("_stop_trace", &stop_trace);
    add_methods(module.attr("Port"), methods);
}

}  // namespace iocp::py
