#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace iocp {

// A socket address in the system's own form. Only backends read the bytes.
struct Address {
    alignas(8) std::array<std::byte, 128> bytes{};
    std::uint32_t length{0};
};

}  // namespace iocp
