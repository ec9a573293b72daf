#pragma once

#include <pybind11/pybind11.h>

#include "bindings/port_object.hpp"

namespace iocp::py {

// The functions behind Port.ledger, Port.stats() and Port.trace(). All but start_trace() also work
// on a closed port.
pybind11::object ledger_of(PortObject& port);
pybind11::object figures_of(PortObject& port, std::size_t max_sockets);
void start_trace(PortObject& port, std::size_t events);
pybind11::object stop_trace(PortObject& port);

}  // namespace iocp::py
