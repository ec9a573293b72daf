#pragma once

#include <string>

#include "base/address.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

// Converts a str, bytes or bytearray to the bytes that a resolver takes. A str beyond ASCII is
// encoded with IDNA. False: an exception is set.
bool to_host(const Types& types, PyObject* value, std::string& out);

// Converts an address of the given family from the socket module's form. A host name is looked up,
// which blocks, so the thread detaches from the interpreter meanwhile. False: an exception is set,
// gaierror for a failed lookup.
bool to_address(const Types& types, PyObject* value, int family, Address& out);

// Returns (family, address) for a host that needs no lookup, such as a numeric one, and the host as
// bytes for one that does. With `family` 0 the host decides the family. Null: an exception is set.
PyObject* address_or_name(const Types& types, PyObject* host, int port, int family);

// Converts an address to the socket module's form.
PyObject* from_address(const Address& address);

}  // namespace iocp::py
