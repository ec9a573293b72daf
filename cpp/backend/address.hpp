#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace iocp {

// A socket address as the system wants it; only backends look inside.
struct Address {
    alignas(8) std::array<std::byte, 128> bytes{};
    std::uint32_t length{0};
};

}  // namespace iocp
