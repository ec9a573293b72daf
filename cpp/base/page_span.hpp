#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace iocp {

// Returns the number of pages that a buffer touches: the pages that a system locks for it. An empty
// buffer touches none. Precondition: page_size is a power of two and address + length does not
// wrap.
constexpr std::size_t page_span(std::uintptr_t address, std::size_t length,
                                std::size_t page_size) noexcept {
    if (length == 0) {
        return 0;
    }
    const int shift = std::countr_zero(page_size);  // a division would cost more than the rest
    const std::uintptr_t first = address >> shift;
    const std::uintptr_t last = (address + (length - 1)) >> shift;
    return static_cast<std::size_t>(last - first) + 1;
}

}  // namespace iocp
