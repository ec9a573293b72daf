#pragma once

#include <cstddef>
#include <vector>

namespace iocp {

// One piece of ancillary data, as Python's socket module writes it.
struct AncillaryItem {
    int level;
    int type;
    const std::byte* data;
    std::size_t length;
};

// Whether messages carry ancillary data on this platform.
extern const bool has_ancillary;

// Returns the items in the system's layout, or an empty block for no items.
std::vector<std::byte> ancillary_block(const std::vector<AncillaryItem>& items);
// Returns the items of a block that the system filled. They point into the block.
std::vector<AncillaryItem> ancillary_items(const std::byte* block, std::size_t length);
// Closes every descriptor that a received block of ancillary data has brought.
void close_passed(const std::byte* block, std::size_t length) noexcept;

}  // namespace iocp
