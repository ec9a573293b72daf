#pragma once

#include <pybind11/pybind11.h>

#include "bindings/port_object.hpp"

namespace iocp::py {

// The figures of a port, even after it was closed: the methods behind Port.ledger, stats() and
// trace() in Python.
pybind11::object ledger_of(PortObject& port);
pybind11::object figures_of(PortObject& port, std::size_t max_sockets);
void start_trace(PortObject& port, std::size_t events);
pybind11::object stop_trace(PortObject& port);

}  // namespace iocp::py
