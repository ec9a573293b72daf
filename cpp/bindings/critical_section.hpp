#pragma once

#include <Python.h>

namespace iocp::py {

// The critical section of a Python object for as long as it lives. Without a GIL the interpreter
// gives it up while the thread is detached; with one, the GIL is the critical section. The
// interpreter's macros would leave an exception of C++ in it.
class CriticalSection {
public:
#ifdef Py_GIL_DISABLED
    explicit CriticalSection(PyObject* object) noexcept {
        PyCriticalSection_Begin(&section_, object);
    }
    ~CriticalSection() { PyCriticalSection_End(&section_); }
#else
    explicit CriticalSection(PyObject* /*object*/) noexcept {}
    ~CriticalSection() = default;
#endif
    CriticalSection(const CriticalSection&) = delete;
    CriticalSection& operator=(const CriticalSection&) = delete;

#ifdef Py_GIL_DISABLED
private:
    PyCriticalSection section_;
#endif
};

}  // namespace iocp::py
