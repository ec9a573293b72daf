#pragma once

#include "bindings/types.hpp"
#include "ops/buffer.hpp"

namespace iocp::py {

// The Python object Buffer: a slice of a region. The object keeps the region until release() or its
// end.
struct BufferObject {
    PyObject_HEAD
    Region* region;
    std::byte* data;
    Py_ssize_t length;
    Py_ssize_t exports;
};

PyTypeObject* make_buffer_type(PyObject* module);
PyObject* new_buffer(const Types& types, Slice slice);
// new_buffer() in two steps: blank_buffer() makes an empty Buffer, and fill_buffer() fills it
// before any other thread can see it.
PyObject* blank_buffer(const Types& types);
void fill_buffer(PyObject* blank, Slice slice) noexcept;

}  // namespace iocp::py
