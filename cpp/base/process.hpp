#pragma once

#include <cstddef>
#include <cstdint>

namespace iocp {

// Returns a number that rises in every forked child. A port made before the fork belongs to the
// parent.
std::uint32_t fork_generation() noexcept;

// Returns the bytes of a memory page, the unit in which the system locks memory.
std::size_t system_page_size() noexcept;

}  // namespace iocp
