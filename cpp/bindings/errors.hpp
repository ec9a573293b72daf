#pragma once

#include "base/error.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

struct PortObject;

// Makes the exception of an error: a new reference, or null with another exception set. With a
// `port`, an exhausted resource or budget carries the port's counters.
PyObject* make_exception(PortObject* port, const Types& types, const Error& error);
// Sets the exception and returns null.
PyObject* raise(PortObject* port, const Types& types, const Error& error);
PyObject* raise(const Types& types, ErrorClass which, int code, const char* text);
// Raises the class with EINVAL and the message, and takes over the message's reference. Returns
// false. Null: an exception is set already, and stays.
bool refuse(const Types& types, ErrorClass which, PyObject* message);
// A class of iocp_sock.warning: a new reference, or null with the exception set.
PyObject* warning_class(const char* name);
// Fills the classes of `types` from iocp_sock.error. False: an exception is set.
bool load_errors(Types& types);

}  // namespace iocp::py
