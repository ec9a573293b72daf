#pragma once

#include <cstddef>
#include <cstdint>

namespace iocp {

// Pages a buffer touches: what a system that locks it has to lock. Zero bytes touch no page.
// Precondition: page_size is a power of two and address + length does not wrap.
constexpr std::size_t page_span(std::uintptr_t address, std::size_t length,
                                std::size_t page_size) noexcept {
    if (length == 0) {
        return 0;
    }
    const std::uintptr_t first = address / page_size;
    const std::uintptr_t last = (address + (length - 1)) / page_size;
    return static_cast<std::size_t>(last - first) + 1;
}

}  // namespace iocp
