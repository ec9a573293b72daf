#pragma once

#include "bindings/port_object.hpp"

namespace iocp::py {

// Makes the lease of a send_file(): a part of a file. `file` is a path, a descriptor of Python, or
// an object with fileno(). `offset` and `count` are bytes; null or None mean from the start and to
// the end. False: an exception is set.
bool lease_file(PortObject& port, PyObject* file, PyObject* offset, PyObject* count, Lease& out);

// Gets the system's handle of the file behind a descriptor of Python. Each platform has its own
// implementation. False: an exception is set.
bool handle_of_descriptor(int descriptor, Handle& out);

}  // namespace iocp::py
