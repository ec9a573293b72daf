#pragma once

#include <cstddef>

#include "bindings/compat.hpp"

namespace iocp::py {

struct PortObject;

PyTypeObject* make_registered_type(PyObject* module);
PyObject* new_registered(PyObject* port, PortObject& binding, std::size_t bytes);

}  // namespace iocp::py
