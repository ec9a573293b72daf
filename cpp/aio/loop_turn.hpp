#pragma once

#include "aio/loop_object.hpp"

namespace iocp::aio {

// Makes one turn of a loop, in asyncio's order: the cancelled timers at the front are dropped; the
// port is polled, without a wait if something is ready; then run the handles that are ready, the
// records of the poll, and the timers that are due. Handles that are added meanwhile wait for the
// next turn. If an exception leaves the turn, what has not run stays in order for the next one.
PyObject* run_once_method(PyObject* self, PyObject* unused);

}  // namespace iocp::aio
