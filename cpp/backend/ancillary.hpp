#pragma once

#include <cstddef>
#include <vector>

namespace iocp {

// What goes along with a message, in the terms of the socket module.
struct AncillaryItem {
    int level;
    int type;
    const std::byte* data;
    std::size_t length;
};

// Whether messages carry any here.
extern const bool has_ancillary;

// The items in the system's layout; empty when there are none.
std::vector<std::byte> ancillary_block(const std::vector<AncillaryItem>& items);
// The items of a block that the system filled. They point into it.
std::vector<AncillaryItem> ancillary_items(const std::byte* block, std::size_t length);
// Closes every descriptor that such a block brought.
void close_passed(const std::byte* block, std::size_t length) noexcept;

}  // namespace iocp
