// TimerHandle: a Handle with a time, compared and hashed by it.
#include "aio/handle_object.hpp"
#include "bindings/guarded.hpp"
#include "bindings/held.hpp"

namespace iocp::aio {

namespace {

using py::guarded;
using py::Held;

PyObject* time_as_given(PyObject* self) {
    const TimerHandleObject& timer = timer_of(self);
    return timer.given != nullptr ? Py_NewRef(timer.given) : PyFloat_FromDouble(timer.when);
}

PyObject* when(PyObject* self, PyObject* /*unused*/) { return time_as_given(self); }
PyObject* the_time(PyObject* self, void* /*unused*/) { return time_as_given(self); }
PyObject* is_scheduled(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(timer_of(self).scheduled ? 1 : 0);
}

Py_hash_t hash(PyObject* self) {
    const Held time(time_as_given(self));
    return time.get() != nullptr ? attaching([&] { return PyObject_Hash(time.get()); }) : -1;
}

// Compares what both handles have of one kind. Negative: an exception is set.
template <class Get>
int same(PyObject* one, PyObject* other, Get&& get) {
    const Held first(get(one));
    const Held second(first.get() != nullptr ? get(other) : nullptr);
    if (second.get() == nullptr) {
        return -1;
    }
    return attaching([&] { return PyObject_RichCompareBool(first.get(), second.get(), Py_EQ); });
}

// Handles are equal if they would make the same call at the same time. Negative: an exception is
// set.
int equal(PyObject* one, PyObject* other) {
    if (handle_of(one).cancelled != handle_of(other).cancelled) {
        return 0;
    }
    int answer = same(one, other, time_as_given);
    if (answer > 0) {
        answer = same(one, other, [](PyObject* self) { return callback_of(handle_of(self)); });
    }
    if (answer > 0) {
        answer = same(one, other, [](PyObject* self) { return arguments_of(handle_of(self)); });
    }
    return answer;
}

PyObject* compare(PyObject* self, PyObject* other, int operation) {
    if (!Py_IS_TYPE(other, Py_TYPE(self))) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    const bool strict = operation == Py_LT || operation == Py_GT;
    if (strict || operation == Py_LE || operation == Py_GE) {
        const Held mine(time_as_given(self));
        const Held theirs(mine.get() != nullptr ? time_as_given(other) : nullptr);
        if (theirs.get() == nullptr) {
            return nullptr;
        }
        const bool less = operation == Py_LT || operation == Py_LE;
        const int answer = attaching([&] {
            return PyObject_RichCompareBool(mine.get(), theirs.get(), less ? Py_LT : Py_GT);
        });
        if (answer != 0 || strict) {
            return answer < 0 ? nullptr : PyBool_FromLong(answer);
        }
    }
    const int answer = equal(self, other);
    if (answer < 0) {
        return nullptr;
    }
    return PyBool_FromLong(operation == Py_NE ? 1 - answer : answer);
}

PyMethodDef methods[] = {
    {"when", guarded<when>, METH_NOARGS,
     "when() -> float\n\n"
     "Returns the time at which the callback is due, by the clock of loop.time()."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"_when", guarded<the_time>, nullptr, nullptr, nullptr},
    {"_scheduled", guarded<is_scheduled>, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A callback that call_later() or call_at() scheduled.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc_handle>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse_handle>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear_handle>)},
    {Py_tp_hash, reinterpret_cast<void*>(guarded<hash>)},
    {Py_tp_richcompare, reinterpret_cast<void*>(guarded<compare>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"iocp_sock._core.TimerHandle", sizeof(TimerHandleObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                        Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

}  // namespace

PyTypeObject* make_timer_handle_type(PyObject* module, PyTypeObject* handle) {
    if (handle == nullptr) {
        return nullptr;
    }
    return reinterpret_cast<PyTypeObject*>(
        PyType_FromModuleAndSpec(module, &spec, reinterpret_cast<PyObject*>(handle)));
}

PyObject* take_first_timer(LoopObject& loop) noexcept {
    PyObject* handle = loop.state.timers.take_first();
    note_unscheduled(loop, handle);
    if (is_native(loop, handle) && handle_of(handle).cancelled) {
        loop.state.timers.remove_cancelled();
    }
    return handle;
}

void note_unscheduled(const LoopObject& loop, PyObject* handle) noexcept {
    if (Py_IS_TYPE(handle, loop.types->timer_handle)) {
        timer_of(handle).scheduled = false;
    }
}

}  // namespace iocp::aio
