#pragma once

#include <cstdint>

#include "bindings/port_object.hpp"
#include "bindings/retired.hpp"

namespace iocp::py {

// Hands out one record. With `wanted`, returns a completion without a callback there. False: an
// exception is set.
bool hand_out_one(PyObject* self, PortObject& port, Ready& ready, Retired& retired,
                  PyObject** wanted);
void retire_handed_out(PortObject& port, Retired& retired);

}  // namespace iocp::py
