#pragma once

#include <Python.h>

namespace iocp::py {

// Holds the critical section of a Python object until the scope ends. Without a GIL the interpreter
// leaves the section while the thread is detached. With a GIL the GIL takes the place of the
// section. The interpreter's own macros would not leave the section when C++ throws.
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
