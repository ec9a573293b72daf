#pragma once

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
    const std::uintptr_t first = address / page_size;
    const std::uintptr_t last = (address + (length - 1)) / page_size;
    return static_cast<std::size_t>(last - first) + 1;
}

}  // namespace iocp
