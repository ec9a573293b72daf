#pragma once

#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

// Moves the result of a finished core operation to its Python object, if that still exists, and
// gives the lease of its memory back. The operation keeps its slot.
void conclude(PortObject& port, Operation& core, OperationObject* operation);
// Moves the results of the notified completions to their Python objects, makes their routines due,
// and frees the slots. Returns the number of completions.
Py_ssize_t hand_over(PortObject& port);
// Drops those completions kept for get() whose results Operation.result() has returned. Only the
// thread that runs the port, or a worker of a shared port, may call it.
void drop_claimed(PortObject& port);

}  // namespace iocp::py
