#pragma once

#include <string>

#include "bindings/objects.hpp"

namespace iocp::py {

// A str, bytes or bytearray as the bytes that a resolver is asked with: IDNA for what is beyond
// ASCII. False with an exception set.
bool to_host(const Types& types, PyObject* value, std::string& out);

// What a caller writes for an address of this family, in the shape that the socket module has for
// it. A host that is no number is looked up, which blocks, detached. False with an exception set:
// gaierror for a failed lookup.
bool to_address(const Types& types, PyObject* value, int family, Address& out);

// (family, address) of a host that needs no lookup, or the bytes to look it up by. `family` 0: the
// one that it is of. Null with an exception set.
PyObject* address_or_name(const Types& types, PyObject* host, int port, int family);

// In the shape of the socket module.
PyObject* from_address(const Address& address);

}  // namespace iocp::py
