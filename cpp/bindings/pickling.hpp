#pragma once

#include <Python.h>

namespace iocp::py {

// The __reduce__ of every object that belongs to a port, so that pickle and copy refuse it under
// every protocol. object.__reduce__ would call the nearest base class that is written in C. For a
// class of pybind11 that is pybind11's own type, and calling it ends the process.
PyObject* refuse_pickling(PyObject* self, PyObject* unused);

inline constexpr PyMethodDef no_pickling{"__reduce__", refuse_pickling, METH_NOARGS, nullptr};

}  // namespace iocp::py
