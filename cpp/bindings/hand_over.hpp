#pragma once

#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

// Moves the result of a finished operation to its object, if it still has one, and gives its
// memory back. The slot stays.
void conclude(PortObject& port, Operation& core, OperationObject* operation);
// Settles and retires the notified completions. Returns their number.
Py_ssize_t hand_over(PortObject& port);
// Drops the completions kept for get() whose result result() has returned. Only the thread that
// runs the port, or a worker of a shared port, may call it.
void drop_claimed(PortObject& port);

}  // namespace iocp::py
