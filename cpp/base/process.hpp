#pragma once

#include <cstddef>
#include <cstdint>

namespace iocp {

// Returns a counter that rises in every forked child. A port compares it with the value at its
// creation, because a port made before the fork belongs to the parent.
std::uint32_t fork_generation() noexcept;

// Returns the size of a memory page in bytes. The system locks memory in whole pages.
std::size_t system_page_size() noexcept;

}  // namespace iocp
