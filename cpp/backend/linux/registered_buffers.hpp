#pragma once

#include <cstddef>
#include <vector>

#include "backend/linux/ring.hpp"
#include "base/error.hpp"

namespace iocp {

// The memory that is registered with a ring. The kernel keeps it locked, so a zero-copy send from
// it locks nothing more. Only the ring's thread may register or release memory.
class RegisteredBuffers {
public:
    static constexpr std::size_t max = 64;

    explicit RegisteredBuffers(const uring::Ring& ring) noexcept : ring_(ring) {}

    // Registers memory with the ring. Returns an error if there is no ring. If an allocation fails,
    // throws and registers nothing.
    [[nodiscard]] Error add(std::byte* data, std::size_t length);
    // Unregisters memory. Returns whether the kernel has released it; if not, the memory is still
    // registered.
    [[nodiscard]] bool remove(const std::byte* data) noexcept;
    // Registers all memory with a new ring. If RLIMIT_MEMLOCK has no room, tries again for a while,
    // because the old ring frees its locked memory late. Returns false if the kernel refused any
    // memory.
    [[nodiscard]] bool restore() noexcept;
    // Returns the kernel's index of the memory that contains these bytes, or -1.
    [[nodiscard]] int index_of(const std::byte* data, std::size_t length) const noexcept;

private:
    // A place in the table of registered memory. The place is free if `data` is null.
    struct Buffer {
        std::byte* data{nullptr};
        std::size_t length{0};
    };

    [[nodiscard]] int make_table() const noexcept;
    [[nodiscard]] int update(std::size_t place) const noexcept;

    const uring::Ring& ring_;
    // The registered memory, by the kernel's index. The table is empty until the first add() to a
    // ring. After that it has `max` places, and so has the kernel's table.
    std::vector<Buffer> table_;
};

}  // namespace iocp
