#pragma once

#include <Python.h>

#ifdef Py_GIL_DISABLED
#include <pybind11/pybind11.h>
#endif

#include <cassert>
#include <chrono>
#include <thread>

// What newer interpreters have, in the terms of the older ones.

#if PY_VERSION_HEX < 0x030C0000
inline PyObject* PyErr_GetRaisedException() {
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == nullptr) {
        return nullptr;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != nullptr) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

inline void PyErr_SetRaisedException(PyObject* exception) {
    if (exception == nullptr) {
        PyErr_Restore(nullptr, nullptr, nullptr);
        return;
    }
    PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception))), exception,
                  PyException_GetTraceback(exception));
}
#endif

// When the interpreter is ending, Python before 3.14 ends a daemon thread that wants to attach by
// unwinding its stack, straight through C++. Such a thread stays here instead, as newer ones let
// it.
[[noreturn]] inline void never_return() noexcept {
    for (;;) {
        std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// Calls into the interpreter where the thread may have to attach again: whatever may run Python is
// called through here, since the destructors of the frames above would give up references detached.
template <class Call>
auto attaching(Call&& call) {
    try {
        return call();
    } catch (...) {
        never_return();
    }
}

// Detached from the interpreter for as long as it lives, and attached again however that ends.
class Detached {
public:
    Detached() : state_(PyEval_SaveThread()) {}
    ~Detached() {
        attaching([this] { PyEval_RestoreThread(state_); });
    }
    Detached(const Detached&) = delete;
    Detached& operator=(const Detached&) = delete;

private:
    PyThreadState* state_;
};

// Runs `work` detached from the interpreter.
template <class Work>
void detached(Work&& work) {
    const Detached scope;
    work();
}

// A vectorcall-style function where a method table wants the old type; the flags say which it is.
inline PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}
inline PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// A reference to an object that the core names, unless it is being dropped. Without a GIL only an
// object that was made ready for it can be asked. With one, whoever drops an object cuts its links
// before it detaches, so that the core names no object without references.
#ifdef Py_GIL_DISABLED
inline bool take_reference(PyObject* object) { return pybind11::detail::try_incref(object); }
inline void allow_take_reference(PyObject* object) { pybind11::detail::enable_try_inc_ref(object); }
#else
inline bool take_reference(PyObject* object) {
    assert(Py_REFCNT(object) > 0);
    Py_INCREF(object);
    return true;
}
inline void allow_take_reference(PyObject* /*object*/) {}
#endif
