#include "bindings/file.hpp"

namespace iocp::py {

// Asks Python's msvcrt module for the handle, because descriptors belong to the interpreter's
// run-time library. This module can be linked with another one.
bool handle_of_descriptor(int descriptor, Handle& out) {
    PyObject* library = PyImport_ImportModule("msvcrt");
    if (library == nullptr) {
        return false;
    }
    PyObject* handle = PyObject_CallMethod(library, "get_osfhandle", "i", descriptor);
    Py_DECREF(library);
    if (handle == nullptr) {
        return false;
    }
    out = static_cast<Handle>(PyLong_AsSsize_t(handle));
    Py_DECREF(handle);
    return PyErr_Occurred() == nullptr;
}

}  // namespace iocp::py
