#pragma once

#include <cstddef>
#include <vector>

#include "bindings/types.hpp"
#include "ops/buffer.hpp"
#include "ops/message.hpp"

namespace iocp::py {

// lease_bytes() leases the memory of an object for the kernel to read, lease_writable() for the
// kernel to write. False: an exception is set.
bool lease_bytes(const Types& types, PyObject* source, Lease& out);
bool lease_writable(const Types& types, PyObject* target, Lease& out);
using LeaseOne = bool(const Types& types, PyObject* object, Lease& out);
// Leases the memory of each of several buffers. False: an exception is set, and `leases` has the
// leases made so far.
bool lease_each(const Types& types, PyObject* buffers, LeaseOne* lease_one,
                std::vector<Lease>& leases, std::vector<ConstBytes>& parts, std::size_t& total);

}  // namespace iocp::py
