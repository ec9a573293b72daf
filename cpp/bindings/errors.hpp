#pragma once

#include "base/error.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

struct PortObject;

// Makes the exception for an error: a new reference, or null with another exception set. With a
// `port`, the exception for an exhausted resource or budget has the figures of the port's ledger.
PyObject* make_exception(PortObject* port, const Types& types, const Error& error);
// Sets the exception for the error, or one of the class `which`. Returns null.
PyObject* raise(PortObject* port, const Types& types, const Error& error);
PyObject* raise(const Types& types, ErrorClass which, int code, const char* text);
// Sets an exception of the class with EINVAL and the message, and takes over the reference to the
// message. A null message means that an exception is set already, which then stays. Returns false.
bool refuse(const Types& types, ErrorClass which, PyObject* message);
// Returns a class of iocp_sock.warning: a new reference, or null with an exception set.
PyObject* warning_class(const char* name);
// Fills `types` with the classes of iocp_sock.errors, ROUTINES_RAN and some numbers of errno.
// False: an exception is set.
bool load_errors(Types& types);

}  // namespace iocp::py
