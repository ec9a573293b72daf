#pragma once

#include <Python.h>

namespace iocp::py {

// __reduce__ of whatever stands for something of a port, so that pickle and copy refuse it by every
// protocol. object's would call the nearest base that no Python code made, and for what pybind11
// binds that is pybind11's own type, whose call ends the process.
PyObject* refuse_pickling(PyObject* self, PyObject* unused);

inline constexpr PyMethodDef no_pickling{"__reduce__", refuse_pickling, METH_NOARGS, nullptr};

}  // namespace iocp::py
