#pragma once

#include <array>
#include <cstddef>

#include "base/address.hpp"

namespace iocp {

struct ConstBytes {
    const std::byte* data;
    std::size_t length;
};

// The parts of a send or receive that are rare: an address, several buffers, ancillary data. It
// must not move until the operation's completion is handed out, because the kernel writes to it.
struct Message {
    // The system's own description of the message, valid while the kernel has the request.
    alignas(8) std::array<std::byte, 64> native{};
    const ConstBytes* parts{nullptr};  // the memory: as many parts as the operation has slices
    // Send: the destination. Receive: the sender. Length 0 means no address.
    Address address;
    std::byte* control{nullptr};  // ancillary data in the system's form
    // In bytes. Send: the ancillary data. Receive: the size of `control`, then the data received.
    std::size_t control_length{0};
};

}  // namespace iocp
