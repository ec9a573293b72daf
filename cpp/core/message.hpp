#pragma once

#include <array>
#include <cstddef>

#include "backend/address.hpp"

namespace iocp {

struct ConstBytes {
    const std::byte* data;
    std::size_t length;
};

// What a send or receive has besides flags and one block. It stays where it is until the
// operation's completion has been handed out: the kernel writes to it.
struct Message {
    // What the system is told of it, in the backend's own form, while the kernel has it.
    alignas(8) std::array<std::byte, 64> native{};
    const ConstBytes* parts{nullptr};  // its memory, as many as the operation has slices
    Address address;                // send: where to; receive: whose it was. Of length 0: nobody's
    std::byte* control{nullptr};    // ancillary data in the system's form
    std::size_t control_length{0};  // send: how much; receive: room, then how much came
};

}  // namespace iocp
