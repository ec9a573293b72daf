#include "aio/handle_object.hpp"

#include <structmember.h>

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>

#include "aio/called.hpp"
#include "bindings/critical_section.hpp"
#include "bindings/guarded.hpp"
#include "bindings/held.hpp"
#include "bindings/pickling.hpp"

namespace iocp::aio {

namespace {

using py::CriticalSection;
using py::guarded;
using py::Held;

// Takes the callback and the arguments out, and drops them outside of the critical section: that
// may run any code.
void forget_call(PyObject* self, PyObject* text) {
    HandleObject& handle = handle_of(self);
    std::array<PyObject*, 1 + inline_arguments> dropped{};
    {
        const CriticalSection section(self);
        dropped[0] = std::exchange(handle.callback, nullptr);
        for (int i = 0; i < inline_arguments; ++i) {
            dropped[1 + i] = std::exchange(handle.arguments[i], nullptr);
        }
        handle.count = text != nullptr ? HandleObject::as_text : 0;
        handle.arguments[0] = text;
    }
    for (PyObject* object : dropped) {
        Py_XDECREF(object);
    }
}

// In debug mode a cancelled handle remembers what it looked like.
PyObject* cancel(PyObject* self, PyObject* /*unused*/) {
    HandleObject& handle = handle_of(self);
    if (handle.cancelled.exchange(true)) {
        Py_RETURN_NONE;
    }
    bool good = true;
    PyObject* text = nullptr;
    if (handle.loop != nullptr) {
        LoopState& state = loop_of(handle.loop).state;
        if (handle.timed) {
            const std::lock_guard guard(state.mutex);
            if (timer_of(self).scheduled) {
                state.timers.add_cancelled();
            }
        }
        if (state.debugging) {
            text = represent_handle(self);
            good = text != nullptr;
        }
    }
    PyObject* exception = good ? nullptr : PyErr_GetRaisedException();
    forget_call(self, text);
    if (!good) {
        PyErr_SetRaisedException(exception);
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* cancelled(PyObject* self, PyObject* /*unused*/) {
    return PyBool_FromLong(handle_of(self).cancelled ? 1 : 0);
}

PyObject* or_none(PyObject* object) { return Py_NewRef(object != nullptr ? object : Py_None); }

PyObject* get_context(PyObject* self, PyObject* /*unused*/) {
    return or_none(handle_of(self).context);
}

PyObject* run(PyObject* self, PyObject* /*unused*/) {
    if (!run_handle(handle_of(self))) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* the_callback(PyObject* self, void* /*unused*/) { return callback_of(handle_of(self)); }
PyObject* the_arguments(PyObject* self, void* /*unused*/) { return arguments_of(handle_of(self)); }
PyObject* the_context(PyObject* self, void* /*unused*/) { return get_context(self, nullptr); }
PyObject* the_loop(PyObject* self, void* /*unused*/) { return or_none(handle_of(self).loop); }
PyObject* is_cancelled(PyObject* self, void* /*unused*/) { return cancelled(self, nullptr); }
PyObject* no_traceback(PyObject* /*self*/, void* /*unused*/) { Py_RETURN_NONE; }

PyMethodDef methods[] = {
    {"cancel", guarded<cancel>, METH_NOARGS,
     "cancel() -> None\n\n"
     "Cancels the callback, if it has not run."},
    {"cancelled", guarded<cancelled>, METH_NOARGS,
     "cancelled() -> bool\n\n"
     "Returns whether cancel() was called."},
    {"get_context", guarded<get_context>, METH_NOARGS,
     "get_context() -> contextvars.Context\n\n"
     "Returns the context in which the callback runs."},
    {"_run", guarded<run>, METH_NOARGS, nullptr},
    py::no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"_callback", guarded<the_callback>, nullptr, nullptr, nullptr},
    {"_args", guarded<the_arguments>, nullptr, nullptr, nullptr},
    {"_context", guarded<the_context>, nullptr, nullptr, nullptr},
    {"_loop", guarded<the_loop>, nullptr, nullptr, nullptr},
    {"_cancelled", guarded<is_cancelled>, nullptr, nullptr, nullptr},
    {"_source_traceback", guarded<no_traceback>, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET,
     static_cast<Py_ssize_t>(offsetof(HandleObject, weak_references)), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A callback that call_soon() scheduled.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc_handle>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse_handle>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear_handle>)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<represent_handle>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {0, nullptr},
};

// The base of TimerHandle only: no class can make an instance.
PyType_Spec spec = {"iocp_sock._core.Handle", sizeof(HandleObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

bool put_arguments(HandleObject& handle, const Request& request) {
    for (PyObject*& argument : handle.arguments) {
        argument = nullptr;
    }
    if (request.count <= inline_arguments) {
        for (Py_ssize_t i = 0; i < request.count; ++i) {
            handle.arguments[i] = Py_NewRef(request.arguments[i]);
        }
        handle.count = static_cast<std::int32_t>(request.count);
        return true;
    }
    PyObject* tuple = tuple_of(request.arguments, request.count);
    handle.arguments[0] = tuple;
    handle.count = tuple != nullptr ? HandleObject::in_tuple : 0;
    return tuple != nullptr;
}

// Gives the exception of a callback to the loop. False: an exception is set, and leaves the turn.
bool report(HandleObject& handle) {
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0 ||
        PyErr_ExceptionMatches(PyExc_SystemExit) != 0) {
        return false;
    }
    auto* self = reinterpret_cast<PyObject*>(&handle);
    const Held exception(PyErr_GetRaisedException());
    const Held loop(Py_XNewRef(handle.loop));
    if (loop.get() == nullptr) {
        PyErr_SetRaisedException(Py_NewRef(exception.get()));
        PyErr_WriteUnraisable(self);
        return true;
    }
    const Held result(attaching([&] {
        return PyObject_CallMethod(loop.get(), "_callback_failed", "OO", self, exception.get());
    }));
    return result.get() != nullptr;
}

}  // namespace

int traverse_handle(PyObject* self, visitproc visit, void* arg) {
    const HandleObject& handle = handle_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(handle.loop);
    Py_VISIT(handle.callback);
    Py_VISIT(handle.context);
    for (PyObject* argument : handle.arguments) {
        Py_VISIT(argument);
    }
    if (handle.timed) {
        Py_VISIT(timer_of(self).given);
    }
    return 0;
}

int clear_handle(PyObject* self) {
    HandleObject& handle = handle_of(self);
    forget_call(self, nullptr);
    Py_CLEAR(handle.context);
    Py_CLEAR(handle.loop);
    if (handle.timed) {
        Py_CLEAR(timer_of(self).given);
    }
    return 0;
}

// The trash can keeps a long chain of handles, each an argument of the next, off the stack.
void dealloc_handle(PyObject* self) {
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, guarded<dealloc_handle>) PyTypeObject* type = Py_TYPE(self);
    if (handle_of(self).weak_references != nullptr) {
        PyObject_ClearWeakRefs(self);
    }
    (void)clear_handle(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

PyTypeObject* make_handle_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

HandleObject* new_handle(LoopObject& loop, const Request& request, PyObject* when, double seconds) {
    const bool timed = when != nullptr;
    PyObject* context =
        request.context != nullptr ? Py_NewRef(request.context) : PyContext_CopyCurrent();
    if (context == nullptr) {
        return nullptr;
    }
    HandleObject* handle = timed ? reinterpret_cast<HandleObject*>(
                                       PyObject_GC_New(TimerHandleObject, loop.types->timer_handle))
                                 : PyObject_GC_New(HandleObject, loop.types->handle);
    if (handle == nullptr) {
        Py_DECREF(context);
        return nullptr;
    }
    auto* self = reinterpret_cast<PyObject*>(handle);
    handle->loop = Py_NewRef(reinterpret_cast<PyObject*>(&loop));
    handle->callback = Py_NewRef(request.callback);
    handle->context = context;
    handle->weak_references = nullptr;
    handle->cancelled.store(false, std::memory_order_relaxed);
    handle->timed = timed;
    if (timed) {
        TimerHandleObject& timer = timer_of(self);
        timer.when = seconds;
        timer.given = PyFloat_CheckExact(when) ? nullptr : Py_NewRef(when);
        timer.scheduled.store(false, std::memory_order_relaxed);
    }
    const bool good = put_arguments(*handle, request);
    PyObject_GC_Track(self);
    if (!good) {
        Py_DECREF(self);
        return nullptr;
    }
    return handle;
}

bool run_handle(HandleObject& handle) {
    Called call(handle);
    if (!call) {
        return true;
    }
    PyObject* result = call.invoke();
    if (result == nullptr) {
        return report(handle);
    }
    Py_DECREF(result);
    return true;
}

PyObject* callback_of(HandleObject& handle) {
    const CriticalSection section(reinterpret_cast<PyObject*>(&handle));
    return or_none(handle.callback);
}

PyObject* arguments_of(HandleObject& handle) {
    const Called call(handle);
    if (!call) {
        Py_RETURN_NONE;
    }
    return call.arguments();
}

// asyncio's own function names the callback, in the words of its version.
PyObject* represent_handle(PyObject* self) {
    HandleObject& handle = handle_of(self);
    {
        const CriticalSection section(self);
        if (handle.count == HandleObject::as_text) {
            return Py_NewRef(handle.arguments[0]);
        }
    }
    const Held module(attaching([] { return PyImport_ImportModule("asyncio.events"); }));
    const Held type(module.get() != nullptr ? PyObject_GetAttrString(module.get(), "Handle")
                                            : nullptr);
    if (type.get() == nullptr) {
        return nullptr;
    }
    const Held info(
        attaching([&] { return PyObject_CallMethod(type.get(), "_repr_info", "O", self); }));
    if (info.get() == nullptr || !PyList_Check(info.get())) {
        return info.get() == nullptr
                   ? nullptr
                   : PyErr_Format(PyExc_TypeError, "Handle._repr_info() must return a list");
    }
    if (handle.timed) {
        const Held when(PyObject_GetAttrString(self, "_when"));
        const Held part(when.get() != nullptr ? PyUnicode_FromFormat("when=%S", when.get())
                                              : nullptr);
        if (part.get() == nullptr ||
            PyList_Insert(info.get(), handle.cancelled ? 2 : 1, part.get()) < 0) {
            return nullptr;
        }
    }
    const Held space(PyUnicode_FromString(" "));
    const Held joined(space.get() != nullptr ? PyUnicode_Join(space.get(), info.get()) : nullptr);
    return joined.get() != nullptr ? PyUnicode_FromFormat("<%U>", joined.get()) : nullptr;
}

}  // namespace iocp::aio
