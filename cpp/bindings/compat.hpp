#pragma once

#include <Python.h>

#ifdef Py_GIL_DISABLED
#include <pybind11/pybind11.h>
#endif

#include <cassert>
#include <chrono>
#include <thread>

// Functions of newer interpreters, implemented for older ones.

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

// Stops a daemon thread for good while the interpreter ends. Before 3.14, Python ends a daemon
// thread that tries to attach by unwinding its stack, straight through C++. Newer versions leave
// such a thread waiting, as this function does.
[[noreturn]] inline void never_return() noexcept {
    for (;;) {
        std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// Makes a call into the interpreter that may detach the thread and attach it again. Every call that
// may run Python goes through this function. If the interpreter ends the thread by unwinding its
// stack, the unwinding stops here. Otherwise it would run the destructors of the C++ frames above,
// which would drop references while the thread is detached.
template <class Call>
auto attaching(Call&& call) {
    try {
        return call();
    } catch (...) {
        never_return();
    }
}

// Keeps the thread detached from the interpreter until the scope ends, even by an exception.
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

// Casts a vectorcall-style function to the type of a method table. The row's flags name the real
// type.
inline PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}
inline PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Takes a reference to a Python object that the core points to. False: the object is being
// destroyed. Without a GIL this needs an object prepared by allow_take_reference(). With a GIL the
// thread that destroys an object cuts its links before it detaches, so the core never points to an
// object without references.
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
