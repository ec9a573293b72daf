#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "ops/operation.hpp"

namespace iocp {

// Lists the buffers that `count` operations of a lane, from `op` on, still have to send or fill, at
// most `room` of them. Returns how many it listed.
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

// Returns the msghdr of a send or receive with `count` buffers.
msghdr header_of(const Operation& op, iovec* parts, std::size_t count) noexcept;

// Takes the lengths of the address and of the ancillary data that the system wrote to the header of
// a receive. Returns the MSG_* flags that the system returned.
std::int32_t take_answer(const Operation& op, const msghdr& header) noexcept;

}  // namespace iocp
