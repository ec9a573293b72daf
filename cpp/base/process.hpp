#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace iocp {

// The number of forks between this process and the one that loaded the library. A forked child adds
// one before it runs anything else.
extern std::atomic<std::uint32_t> forks;

// Returns a counter that rises in every forked child. A port compares it with the value at its
// creation, because a port made before the fork belongs to the parent.
[[nodiscard]] inline std::uint32_t fork_generation() noexcept {
    return forks.load(std::memory_order_relaxed);
}

// Returns the size of a memory page in bytes. The system locks memory in whole pages.
std::size_t system_page_size() noexcept;

}  // namespace iocp
