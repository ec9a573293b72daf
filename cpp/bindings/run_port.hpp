#pragma once

#include <pybind11/pybind11.h>

#include "bindings/port_object.hpp"
#include "run/calls.hpp"

namespace iocp::py {

[[noreturn]] inline void throw_set() { throw pybind11::error_already_set(); }

inline void require_usable(PortObject& port) {
    if (!usable(port)) {
        throw_set();
    }
}

// The figures of a closed port may be read, but not those of a port that was made before a fork.
inline void require_not_forked(PortObject& port) {
    if (port.forked()) {
        require_usable(port);
    }
}

// Returns whether a call that ran the port succeeded. False: its refusal or its error is raised.
bool succeeded(PortObject& port, const run::Ran& ran);

// The methods of Port that run the port, as bind_port.cpp documents them.
void run(const pybind11::object& self, const pybind11::object& until_idle);
Py_ssize_t run_once(const pybind11::object& self, const pybind11::object& timeout);
// Makes the thread the runner of the port as long as the returned object lives. An event loop holds
// that object while it runs, so that no other thread runs the loop's callbacks.
pybind11::object enter(const pybind11::object& self);
pybind11::object get(const pybind11::object& self, const pybind11::object& timeout);
pybind11::list get_batch(const pybind11::object& self, const pybind11::object& count,
                         const pybind11::object& timeout);
void close(const pybind11::object& self, const pybind11::object& timeout);
void stop(const pybind11::object& self);

}  // namespace iocp::py
