#include "aio/called.hpp"

#include "bindings/critical_section.hpp"
#include "bindings/held.hpp"

namespace iocp::aio {

using py::Held;

PyObject* tuple_of(PyObject* const* objects, Py_ssize_t count) {
    PyObject* tuple = PyTuple_New(count);
    if (tuple != nullptr) {
        for (Py_ssize_t i = 0; i < count; ++i) {
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(objects[i]));
        }
    }
    return tuple;
}

Called::Called(HandleObject& handle) {
    const py::CriticalSection section(reinterpret_cast<PyObject*>(&handle));
    if (handle.callback == nullptr || handle.context == nullptr) {
        return;
    }
    callback_ = Py_NewRef(handle.callback);
    context_ = Py_NewRef(handle.context);
    if (handle.count == HandleObject::in_tuple) {
        tuple_ = Py_NewRef(handle.arguments[0]);
        return;
    }
    count_ = static_cast<std::size_t>(handle.count);
    for (std::size_t i = 0; i < count_; ++i) {
        slots_[1 + i] = Py_NewRef(handle.arguments[i]);
    }
}

Called::~Called() {
    for (std::size_t i = 0; i < count_; ++i) {
        Py_DECREF(slots_[1 + i]);
    }
    Py_XDECREF(tuple_);
    Py_XDECREF(context_);
    Py_XDECREF(callback_);
}

PyObject* Called::invoke() {
    if (!PyContext_CheckExact(context_)) {
        return call_through_run();
    }
    if (PyContext_Enter(context_) < 0) {
        return nullptr;
    }
    PyObject* result = call();
    if (result != nullptr) {
        if (PyContext_Exit(context_) < 0) {
            Py_CLEAR(result);
        }
        return result;
    }
    PyObject* exception = PyErr_GetRaisedException();
    if (PyContext_Exit(context_) < 0) {
        PyErr_Clear();  // the callback's exception says more
    }
    PyErr_SetRaisedException(exception);
    return nullptr;
}

PyObject* Called::arguments() const {
    return tuple_ != nullptr ? Py_NewRef(tuple_)
                             : tuple_of(slots_.data() + 1, static_cast<Py_ssize_t>(count_));
}

PyObject* Called::call() {
    return attaching([this] {
        return tuple_ != nullptr
                   ? PyObject_Call(callback_, tuple_, nullptr)
                   : PyObject_Vectorcall(callback_, slots_.data() + 1,
                                         count_ | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    });
}

// asyncio asks of a context no more than its method run().
PyObject* Called::call_through_run() {
    const Held given(arguments());
    const Held first(given.get() != nullptr ? PyTuple_Pack(1, callback_) : nullptr);
    const Held all(first.get() != nullptr ? PySequence_Concat(first.get(), given.get()) : nullptr);
    return attaching([&]() -> PyObject* {
        const Held run(all.get() != nullptr ? PyObject_GetAttrString(context_, "run") : nullptr);
        return run.get() != nullptr ? PyObject_Call(run.get(), all.get(), nullptr) : nullptr;
    });
}

}  // namespace iocp::aio
