#pragma once

#include <pybind11/pybind11.h>

namespace iocp::py {

void bind_waiting(pybind11::module_& module);

}  // namespace iocp::py
