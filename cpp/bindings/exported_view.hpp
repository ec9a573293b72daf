#pragma once

#include <Python.h>

#include "bindings/critical_section.hpp"
#include "bindings/held.hpp"

namespace iocp::py {

// PyObject_GetBuffer() and PyBuffer_Release() with the exporter's critical section held. Before
// CPython 3.14 a bytearray or memoryview counts its views without a lock. Without a GIL two threads
// could then lose a count, and the memory could be freed or moved under a view of the other thread.
inline int get_view(PyObject* exporter, Py_buffer& view, int flags) {
    const CriticalSection section(exporter);
    return PyObject_GetBuffer(exporter, &view, flags);
}
inline void release_view(Py_buffer& view) {
    if (view.obj == nullptr) {
        PyBuffer_Release(&view);
        return;
    }
    const Held exporter(Py_NewRef(view.obj));  // outlives the section that names it
    const CriticalSection section(exporter.get());
    PyBuffer_Release(&view);
}

}  // namespace iocp::py
