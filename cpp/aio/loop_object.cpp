// EventLoop of the core: its life, and the attributes that asyncio's BaseEventLoop writes.
#include "aio/loop_object.hpp"

#include <cerrno>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "aio/loop_turn.hpp"
#include "aio/references.hpp"
#include "aio/scheduling.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/held.hpp"
#include "bindings/keywords.hpp"
#include "bindings/pickling.hpp"
#include "bindings/run_port.hpp"

namespace iocp::aio {

namespace {

using py::ErrorClass;
using py::guarded;
using py::Held;

LoopState& state_of(PyObject* self) noexcept { return loop_of(self).state; }

// --- life ---------------------------------------------------------------------------------------

PyObject* make(PyTypeObject* type, PyObject* /*positional*/, PyObject* /*keywords*/) {
    const Held module(attaching([] { return PyImport_ImportModule("iocp_sock._core"); }));
    Held reference(module.get() != nullptr ? PyObject_GetAttrString(module.get(), "_types")
                                           : nullptr);
    const auto* types =
        reference.get() != nullptr
            ? static_cast<const py::Types*>(PyCapsule_GetPointer(reference.get(), nullptr))
            : nullptr;
    if (types == nullptr) {
        return nullptr;
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (self == nullptr) {
        return nullptr;
    }
    LoopObject& loop = loop_of(self);
    new (&loop.state) LoopState();
    loop.types_reference = reference.release();
    loop.types = types;
    if (!loop.state.names.intern()) {
        Py_DECREF(self);
        return nullptr;
    }
    return self;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    const LoopObject& loop = loop_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop.port_object);
    Py_VISIT(loop.state.debug);
    if (const int answer = loop.state.ready.traverse(visit, arg); answer != 0) {
        return answer;
    }
    return loop.state.timers.traverse(visit, arg);
}

void forget_ready(LoopState& state) {
    ReadyQueue dropped;
    const std::lock_guard guard(state.mutex);
    dropped.swap(state.ready);
}

// Lets the timers know that they are none any more, as far as they are ours.
void forget_timers(LoopObject& loop) {
    TimerHeap dropped;
    References handles;
    const std::lock_guard guard(loop.state.mutex);
    handles.make_room(loop.state.timers.size());
    loop.state.timers.copy_to(handles.objects());
    for (PyObject* handle : handles.objects()) {
        note_unscheduled(loop, handle);
    }
    dropped.swap(loop.state.timers);
}

int clear(PyObject* self) {
    LoopObject& loop = loop_of(self);
    loop.state.closed = true;
    forget_ready(loop.state);
    TimerHeap dropped;
    dropped.swap(loop.state.timers);
    loop.port = nullptr;
    Py_CLEAR(loop.port_object);
    Py_CLEAR(loop.state.debug);
    return 0;
}

void dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    LoopObject& loop = loop_of(self);
    (void)clear(self);
    loop.state.~LoopState();
    Py_DECREF(loop.types_reference);
    type->tp_free(self);
    Py_DECREF(type);
}

// --- the port -----------------------------------------------------------------------------------

PyObject* attach(PyObject* self, PyObject* given) {
    return py::result_of([&] {
        LoopObject& loop = loop_of(self);
        if (!pybind11::isinstance<py::PortObject>(given)) {
            PyErr_Format(PyExc_TypeError, "_attach() needs a Port, not %R", given);
            py::throw_set();
        }
        auto& port = pybind11::handle(given).cast<py::PortObject&>();
        py::require_usable(port);
        if (loop.port_object != nullptr) {
            PyErr_SetString(PyExc_RuntimeError, "this event loop has a port already");
            py::throw_set();
        }
        if (port.core->shared()) {
            py::raise(*port.types, ErrorClass::argument, EINVAL,
                      "an event loop needs a port for one thread; leave concurrency out");
            py::throw_set();
        }
        port.only_exits_pass = true;
        loop.port_object = Py_NewRef(given);
        loop.port = &port;
    });
}

PyObject* the_time(PyObject* self, PyObject* /*unused*/) {
    return PyFloat_FromDouble(time_of(loop_of(self)));
}

// --- attributes ---------------------------------------------------------------------------------

PyObject* bool_of(const std::atomic<bool>& flag) { return PyBool_FromLong(flag ? 1 : 0); }

// Returns the truth of a value that is to be stored; negative: an exception is set.
int truth_of(PyObject* value) {
    if (value == nullptr) {
        PyErr_SetString(PyExc_AttributeError, "this attribute cannot be deleted");
        return -1;
    }
    return attaching([value] { return PyObject_IsTrue(value); });
}

PyObject* is_closed(PyObject* self, PyObject* /*unused*/) { return bool_of(state_of(self).closed); }
PyObject* get_closed(PyObject* self, void* /*unused*/) { return bool_of(state_of(self).closed); }
int set_closed(PyObject* self, PyObject* value, void* /*unused*/) {
    const int truth = truth_of(value);
    if (truth < 0) {
        return -1;
    }
    // Whoever pushes a handle holds the mutex, so that none is pushed to a loop that has closed.
    const std::lock_guard guard(state_of(self).mutex);
    state_of(self).closed = truth != 0;
    return 0;
}

PyObject* get_stopping(PyObject* self, void* /*unused*/) {
    return bool_of(state_of(self).stopping);
}
int set_stopping(PyObject* self, PyObject* value, void* /*unused*/) {
    const int truth = truth_of(value);
    if (truth >= 0) {
        state_of(self).stopping = truth != 0;
    }
    return truth < 0 ? -1 : 0;
}

PyObject* get_debug_object(PyObject* self, void* /*unused*/) {
    LoopState& state = state_of(self);
    const std::lock_guard guard(state.mutex);
    return Py_NewRef(state.debug != nullptr ? state.debug : Py_False);
}
PyObject* get_debug(PyObject* self, PyObject* /*unused*/) {
    return get_debug_object(self, nullptr);
}
int set_debug_object(PyObject* self, PyObject* value, void* /*unused*/) {
    const int truth = truth_of(value);
    if (truth < 0) {
        return -1;
    }
    LoopState& state = state_of(self);
    PyObject* before = nullptr;
    {
        const std::lock_guard guard(state.mutex);
        before = std::exchange(state.debug, Py_NewRef(value));
        state.debugging = truth != 0;
    }
    Py_XDECREF(before);
    return 0;
}

PyObject* get_clock_resolution(PyObject* self, void* /*unused*/) {
    return PyFloat_FromDouble(state_of(self).clock_resolution);
}
int set_clock_resolution(PyObject* self, PyObject* value, void* /*unused*/) {
    if (truth_of(value) < 0) {
        return -1;
    }
    const double seconds = attaching([value] { return PyFloat_AsDouble(value); });
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return -1;
    }
    state_of(self).clock_resolution = seconds;
    return 0;
}

// --- the queues, as asyncio's attributes _ready and _scheduled show them ------------------------

PyObject* ready_handles(PyObject* self, PyObject* /*unused*/) {
    LoopState& state = state_of(self);
    References handles;
    {
        const std::lock_guard guard(state.mutex);
        handles.make_room(state.ready.size());
        state.ready.copy_to(handles.objects());
    }
    return handles.to_list();
}

PyObject* scheduled_handles(PyObject* self, PyObject* /*unused*/) {
    LoopState& state = state_of(self);
    References handles;
    {
        const std::lock_guard guard(state.mutex);
        handles.make_room(state.timers.size());
        state.timers.copy_to(handles.objects());
    }
    return handles.to_list();
}

PyObject* clear_ready(PyObject* self, PyObject* /*unused*/) {
    forget_ready(state_of(self));
    Py_RETURN_NONE;
}

PyObject* clear_scheduled(PyObject* self, PyObject* /*unused*/) {
    forget_timers(loop_of(self));
    Py_RETURN_NONE;
}

// --- the type -----------------------------------------------------------------------------------

constexpr int keywords_call = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"call_soon", fast(guarded<call_soon_method>), keywords_call,
     "call_soon(callback, *args, context=None) -> Handle\n\n"
     "Calls callback(*args) in the next turn, after the callbacks that are ready already."},
    {"call_soon_threadsafe", fast(guarded<call_soon_threadsafe_method>), keywords_call,
     "call_soon_threadsafe(callback, *args, context=None) -> Handle\n\n"
     "Does the same from any thread, and wakes the loop if it waits."},
    {"call_later", fast(guarded<call_later_method>), keywords_call,
     "call_later(delay, callback, *args, context=None) -> TimerHandle\n\n"
     "Calls callback(*args) after delay seconds. Callbacks of one time run in the order of their\n"
     "calls."},
    {"call_at", fast(guarded<call_at_method>), keywords_call,
     "call_at(when, callback, *args, context=None) -> TimerHandle\n\n"
     "Calls callback(*args) when time() has reached `when`."},
    {"time", guarded<the_time>, METH_NOARGS,
     "time() -> float\n\n"
     "Returns the time of the port's clock: seconds, monotonic."},
    {"is_closed", guarded<is_closed>, METH_NOARGS,
     "is_closed() -> bool\n\n"
     "Returns whether the loop is closed."},
    {"get_debug", guarded<get_debug>, METH_NOARGS,
     "get_debug() -> bool\n\n"
     "Returns whether the loop is in debug mode."},
    {"_attach", guarded<attach>, METH_O, nullptr},
    {"_run_once", guarded<run_once_method>, METH_NOARGS, nullptr},
    {"_push", guarded<push_method>, METH_O, nullptr},
    {"_push_timer", guarded<push_timer_method>, METH_O, nullptr},
    {"_add_callback", guarded<add_callback_method>, METH_O, nullptr},
    {"_timer_handle_cancelled", guarded<timer_handle_cancelled_method>, METH_O, nullptr},
    {"_ready_handles", guarded<ready_handles>, METH_NOARGS, nullptr},
    {"_scheduled_handles", guarded<scheduled_handles>, METH_NOARGS, nullptr},
    {"_clear_ready", guarded<clear_ready>, METH_NOARGS, nullptr},
    {"_clear_scheduled", guarded<clear_scheduled>, METH_NOARGS, nullptr},
    py::no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"_closed", guarded<get_closed>, guarded<set_closed>, nullptr, nullptr},
    {"_stopping", guarded<get_stopping>, guarded<set_stopping>, nullptr, nullptr},
    {"_debug", guarded<get_debug_object>, guarded<set_debug_object>, nullptr, nullptr},
    {"_clock_resolution", guarded<get_clock_resolution>, guarded<set_clock_resolution>, nullptr,
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "The native half of an event loop: what it is to run, and its turn. A base class beside\n"
    "asyncio.BaseEventLoop, which brings the rest.";

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(documentation)},
    {Py_tp_new, reinterpret_cast<void*>(guarded<make>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {
    "iocp_sock._core.EventLoop", sizeof(LoopObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    slots};

double seconds(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

}  // namespace

bool Names::intern() {
    context = PyUnicode_InternFromString("context");
    time = PyUnicode_InternFromString("time");
    return context != nullptr && time != nullptr;
}

Names::~Names() {
    Py_XDECREF(context);
    Py_XDECREF(time);
}

PyTypeObject* make_event_loop_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* refuse_closed() {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return nullptr;
}

double time_of(LoopObject& loop) {
    if (loop.port != nullptr && loop.port->usable()) {
        py::PortObject& port = *loop.port;
        const std::int64_t now =
            py::locked(port, [&port] { return port.closed ? std::int64_t{-1} : port.core->now(); });
        if (now >= 0) {
            return seconds(now);
        }
    }
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return seconds(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

bool ask_time(LoopObject& loop, double& seconds) {
    PyObject* arguments[] = {reinterpret_cast<PyObject*>(&loop)};
    const Held time(attaching(
        [&] { return PyObject_VectorcallMethod(loop.state.names.time, arguments, 1, nullptr); }));
    if (time.get() == nullptr) {
        return false;
    }
    seconds = attaching([&] { return PyFloat_AsDouble(time.get()); });
    return seconds != -1.0 || PyErr_Occurred() == nullptr;
}

void wake(LoopObject& loop) {
    if (loop.port == nullptr || !loop.port->usable()) {
        return;
    }
    py::locked(*loop.port, [&loop] {
        if (!loop.port->closed) {
            loop.port->core->wake();
        }
        return 0;
    });
}

}  // namespace iocp::aio
