#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

#include "core/operation.hpp"

struct iovec;

namespace iocp {

// The system's description of a send or receive that moves `count` parts.
msghdr header_of(const Operation& op, iovec* parts, std::size_t count) noexcept;

// Takes over what the system wrote to the header of a receive. Gives the MSG_* of its answer.
std::int32_t take_answer(const Operation& op, const msghdr& header) noexcept;

}  // namespace iocp
