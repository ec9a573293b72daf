#include "bindings/pickling.hpp"

namespace iocp::py {

PyObject* refuse_pickling(PyObject* self, PyObject* /*unused*/) {
    return PyErr_Format(PyExc_TypeError, "cannot pickle '%.100s' object", Py_TYPE(self)->tp_name);
}

}  // namespace iocp::py
