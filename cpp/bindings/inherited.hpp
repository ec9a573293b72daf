#pragma once

#include "ops/socket.hpp"

namespace iocp::py {

// Closes a forked child's copy of a descriptor. The parent's stays open.
void close_inherited(Handle handle) noexcept;

}  // namespace iocp::py
