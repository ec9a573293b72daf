#pragma once

#include <array>
#include <cstddef>

#include "base/address.hpp"

namespace iocp {

struct ConstBytes {
    const std::byte* data;
    std::size_t length;
};

// The rare parts of a send or receive: an address, several buffers, ancillary data. A Message must
// not move until its operation's completion is handed out, because the kernel writes to it.
struct Message {
    // The message header in the system's form, such as a msghdr; valid while the kernel has the
    // request.
    alignas(8) std::array<std::byte, 64> native{};
    const ConstBytes* parts{nullptr};  // the buffers, as many as Operation::slices says
    // Of a send: the destination. Of a receive: the sender. Length 0 means no address.
    Address address;
    std::byte* control{nullptr};  // ancillary data in the system's form
    // Bytes of `control`. Of a send: the ancillary data. Of a receive: the capacity, and after it
    // the bytes received.
    std::size_t control_length{0};
};

}  // namespace iocp
