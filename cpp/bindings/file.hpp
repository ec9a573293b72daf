#pragma once

#include "bindings/objects.hpp"

namespace iocp::py {

// Leases what send_file() was given: `file` is a path, a descriptor of Python's, or an object with
// fileno(); `offset` and `count` are bytes, null or None: from the start, to the end. False: an
// exception is set.
bool lease_file(PortObject& port, PyObject* file, PyObject* offset, PyObject* count, Lease& out);

// What the platform calls the file of a descriptor (platform code). False: an exception is set.
bool handle_of_descriptor(int descriptor, Handle& out);

}  // namespace iocp::py
