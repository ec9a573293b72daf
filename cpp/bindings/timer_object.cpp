#include "bindings/objects.hpp"
#include "bindings/pickling.hpp"

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
    Py_CLEAR(self_of(self).callback);
    return 0;
}

// A timer that is to fire is linked to its port and never comes here.
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
    const bool stopped = locked(port, [&] {
        Timer* core = std::exchange(timer.core, nullptr);
        if (core == nullptr) {
            return false;
        }
        (void)port.core->cancel_call(core);
        return true;
    });
    if (stopped && unlink(port, port.timers, timer)) {
        Py_DECREF(self);
    }
    return PyBool_FromLong(stopped ? 1 : 0);
}

PyObject* get_when(PyObject* self, void* /*unused*/) {
    return PyFloat_FromDouble(self_of(self).when);
}

PyObject* get_active(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(self_of(self).core != nullptr ? 1 : 0);
}

PyMethodDef methods[] = {
    {"cancel", cancel, METH_NOARGS,
     "cancel() -> bool\n\nTrue: the callback will not be called. False: it was called, or "
     "cancelled "
     "before."},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"when", get_when, nullptr, "When it fires, in seconds of Port.time().", nullptr},
    {"active", get_active, nullptr, "It is still to fire.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("One call that Port.call_later() arranged.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
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

PyObject* new_timer(PyObject* port, PortObject& binding, double delay, PyObject* callback) {
    auto* timer = PyObject_GC_New(TimerObject, binding.types->timer);
    if (timer == nullptr) {
        return nullptr;
    }
    timer->port = Py_NewRef(port);
    timer->binding = &binding;
    timer->core = nullptr;
    timer->callback = Py_NewRef(callback);
    timer->links = {};
    auto* object = reinterpret_cast<PyObject*>(timer);
    const std::int64_t when = deadline_after(binding, delay);
    timer->when = static_cast<double>(when) / 1e9;
    PyObject_GC_Track(object);
    Py_INCREF(object);  // the port's, until it fires or is cancelled
    link(binding, binding.timers, *timer);
    locked(binding, [&] {
        timer->core = binding.core->call_at(when, timer);
        return 0;
    });
    return object;
}

}  // namespace iocp::py
