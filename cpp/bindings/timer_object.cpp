#include "bindings/timer_object.hpp"

#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/links.hpp"
#include "bindings/pickling.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

namespace {

TimerObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<TimerObject*>(self); }

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self_of(self).port);
    Py_VISIT(self_of(self).callback);
    return 0;
}

int clear(PyObject* self) {
    forget(*self_of(self).binding, self_of(self).callback);
    return 0;
}

// Never runs for a timer that is still to fire, because the port keeps a reference to the Timer.
void dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    (void)clear(self);
    Py_CLEAR(self_of(self).port);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* cancel(PyObject* self, PyObject* /*unused*/) {
    TimerObject& timer = self_of(self);
    PortObject& port = *timer.binding;
    if (!usable(port)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(stop_timer(port, timer) ? 1 : 0);
}

PyObject* get_when(PyObject* self, void* /*unused*/) {
    return PyFloat_FromDouble(self_of(self).when);
}

PyObject* get_active(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(self_of(self).core.linked() ? 1 : 0);
}

PyObject* represent(PyObject* self) {
    PyObject* when = get_when(self, nullptr);
    PyObject* text = when != nullptr ? PyUnicode_FromFormat(
                                           "<iocp_sock.Timer %s, when=%R>",
                                           self_of(self).core.linked() ? "active" : "over", when)
                                     : nullptr;
    Py_XDECREF(when);
    return text;
}

PyMethodDef methods[] = {
    {"cancel", guarded<cancel>, METH_NOARGS,
     "cancel() -> bool\n\n"
     "Cancels the timer. True: the callback will not be called. False: it was called, or the\n"
     "timer was cancelled before."},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"when", guarded<get_when>, nullptr,
     "The time at which the timer fires, in seconds of Port.time().", nullptr},
    {"active", guarded<get_active>, nullptr, "Whether the timer is still to fire.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A call that Port.call_later() scheduled.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear>)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<represent>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"iocp_sock._core.Timer", sizeof(TimerObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                        Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

}  // namespace

PyTypeObject* make_timer_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

TimerObject* take_fired(PortObject& port, Timer& core) {
    return locked(port, [&] {
        auto* timer = static_cast<TimerObject*>(core.target);
        if (timer != nullptr) {
            timer->core.set(nullptr);
        }
        delete &core;
        return timer;
    });
}

bool stop_timer(PortObject& port, TimerObject& timer) {
    const bool stopped = locked(port, [&] {
        Timer* core = timer.core.get();
        if (core == nullptr) {
            return false;
        }
        timer.core.set(nullptr);
        (void)port.core->timers().cancel(*core);
        return true;
    });
    if (stopped) {
        give_up(port, port.timers, timer);
    }
    return stopped;
}

PyObject* new_timer(PyObject* port, PortObject& binding, std::int64_t delay, PyObject* callback) {
    auto* timer = PyObject_GC_New(TimerObject, binding.types->timer);
    if (timer == nullptr) {
        return nullptr;
    }
    timer->port = Py_NewRef(port);
    timer->binding = &binding;
    timer->core.set(nullptr);
    timer->callback = Py_NewRef(callback);
    timer->links = {};
    timer->when = 0;
    auto* object = reinterpret_cast<PyObject*>(timer);
    PyObject_GC_Track(object);
    hold(binding, binding.timers, *timer);  // until it fires or is cancelled
    const Error error = locked(binding, [&]() -> Error {
        if (binding.closed) {
            return port_is_closed;
        }
        const std::int64_t when = binding.core->after(delay);
        timer->when = static_cast<double>(when) / 1e9;
        Timer* core = binding.core->timers().call_at(when, timer);
        timer->core.set(core);
        return core != nullptr ? Error{} : no_timer;
    });
    if (error) {
        give_up(binding, binding.timers, *timer);
        Py_DECREF(object);
        return raise(&binding, *binding.types, error);
    }
    return object;
}

}  // namespace iocp::py
