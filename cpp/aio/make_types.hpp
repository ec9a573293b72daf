#pragma once

#include "bindings/types.hpp"

namespace iocp::aio {

// Makes the types of event loops, as far as an exception does not stop it: it is then set, and the
// types from there on are null.
void make_types(PyObject* module, py::Types& types);

}  // namespace iocp::aio
