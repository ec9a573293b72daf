#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "ops/operation.hpp"

namespace iocp {

// Lists the parts that `count` operations of a lane still move, from `op` on, at most `room` of
// them. Returns how many it listed.
inline std::size_t list_parts(const Operation& op, unsigned count, iovec* parts,
                              std::size_t room) noexcept {
    std::size_t used = 0;
    const Operation* at = &op;
    for (unsigned i = 0; i < count && used < room; ++i, at = at->next) {
        at->each_part([&](std::byte* data, std::size_t length) {
            parts[used++] = {data, length};
            return used < room;
        });
    }
    return used;
}

// Returns the system's description of a send or receive that moves `count` parts.
msghdr header_of(const Operation& op, iovec* parts, std::size_t count) noexcept;

// Takes the data that the system wrote to the header of a receive. Returns the answer's MSG_*
// flags.
std::int32_t take_answer(const Operation& op, const msghdr& header) noexcept;

}  // namespace iocp
