#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bindings/run_port.hpp"

namespace iocp::py::shared {

// The methods of a port for several threads (PortConfig.concurrency) that run it. Timeouts are in
// nanoseconds; negative: for ever.
void run(const pybind11::object& self, PortObject& port, bool until_idle);
Py_ssize_t run_once(const pybind11::object& self, PortObject& port, std::int64_t timeout);
std::vector<PyObject*> gather(const pybind11::object& self, PortObject& port, std::size_t most,
                              std::int64_t timeout);
// Precondition: the core's close has begun.
void close(const pybind11::object& self, PortObject& port);
void stop(PortObject& port);
// For a thread that waits for something of the port and has nothing of it in hand: what is ready is
// handed out, and completions without a callback are kept for get(). False: exception set.
bool hand_out_now(PyObject* self, PortObject& port);

}  // namespace iocp::py::shared
