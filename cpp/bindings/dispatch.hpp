#pragma once

#include <cstdint>

#include "bindings/port_object.hpp"
#include "bindings/retired.hpp"

namespace iocp::py {

// Hands out one record. A completion without a callback is stored in `*wanted`, or dropped if
// `wanted` is null. False: an exception is set.
bool hand_out_one(PyObject* self, PortObject& port, Ready& ready, Retired& retired,
                  PyObject** wanted);
void retire_handed_out(PortObject& port, Retired& retired);

}  // namespace iocp::py
