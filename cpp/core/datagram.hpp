#pragma once

#include <cstddef>
#include <new>

#include "base/address.hpp"
#include "ops/buffer.hpp"

namespace iocp::datagram {

// A subscription stores a datagram in its region directly behind the address of the sender.
inline constexpr std::size_t alignment = alignof(std::max_align_t);
inline constexpr std::size_t address_bytes =
    (sizeof(Address) + alignment - 1) / alignment * alignment;

// Returns the sender of a datagram that a subscription received.
[[nodiscard]] inline const Address& sender_of(const Slice& slice) noexcept {
    return *std::launder(reinterpret_cast<const Address*>(slice.data() - address_bytes));
}
// Returns the maximum size in bytes of a datagram that a subscription may ask for.
[[nodiscard]] inline std::size_t max_size(const BufferPool& pool) noexcept {
    return pool.region_size() - address_bytes;
}

}  // namespace iocp::datagram
