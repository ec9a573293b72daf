#pragma once

#include <cstddef>
#include <vector>

#include "backend/linux/ring.hpp"
#include "base/error.hpp"

namespace iocp {

// The memory that is registered with a ring. The kernel keeps it locked, and a zero-copy send from
// it locks nothing more. Only the ring's thread may change it.
class RegisteredBuffers {
public:
    static constexpr std::size_t max = 64;

    explicit RegisteredBuffers(const uring::Ring& ring) noexcept : ring_(ring) {}

    // Registers the memory, if there is a ring. Without memory it throws, and nothing is
    // registered.
    [[nodiscard]] Error add(std::byte* data, std::size_t length);
    // Returns whether the kernel has released the memory. If not, it is registered still.
    [[nodiscard]] bool remove(const std::byte* data) noexcept;
    // Registers all memory with a new ring. Waits a while for the memory that the old ring had
    // locked. Returns false if the kernel refused any.
    [[nodiscard]] bool restore() noexcept;
    // Returns the kernel's index of the memory that contains these bytes, or -1.
    [[nodiscard]] int index_of(const std::byte* data, std::size_t length) const noexcept;

private:
    // A null `data` is a free place.
    struct Buffer {
        std::byte* data{nullptr};
        std::size_t length{0};
    };

    [[nodiscard]] int make_table() const noexcept;
    [[nodiscard]] int update(std::size_t place) const noexcept;

    const uring::Ring& ring_;
    // The ring's table, by the kernel's index. Empty until the ring's first piece; then it has
    // `max` places, and so has the kernel's.
    std::vector<Buffer> table_;
};

}  // namespace iocp
