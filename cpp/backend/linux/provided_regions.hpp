#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/linux/ring.hpp"
#include "ops/buffer.hpp"

namespace iocp {

// The regions that a ring fills with the data of multishot receives, one after the other and each
// from the front. Messages of all connections then share warm memory, and an idle connection holds
// none.
class ProvidedRegions {
public:
    static constexpr std::uint16_t group = 0;  // the kernel's name of these buffers
    static constexpr std::uint16_t posted = 2;

    ProvidedRegions(uring::Ring& ring, BufferPool& pool) noexcept : ring_(ring), pool_(pool) {}
    ~ProvidedRegions() { drop(); }
    ProvidedRegions(const ProvidedRegions&) = delete;
    ProvidedRegions& operator=(const ProvidedRegions&) = delete;

    // Registers with the ring and posts the regions. Precondition: the ring has none of them.
    void provide() noexcept;
    // Repeats a provide() that found too little lockable memory, for a while.
    void provide_in_time() noexcept;
    // Returns whether the last provide() succeeded: the kernel can fill the regions.
    [[nodiscard]] bool provided() const noexcept { return buffers_ != nullptr; }
    // Returns the errno with which the kernel refused the regions, or 0.
    [[nodiscard]] int refusal() const noexcept { return refusal_; }
    // Tries again for a region for which there was no memory.
    void post_missing() noexcept;
    // Returns the data of a completion that has filled `length` bytes. `slot` is the kernel's name
    // of the region.
    [[nodiscard]] Slice take(std::uint16_t slot, std::size_t length) noexcept;
    // Gives the regions back. Precondition: the ring is closed.
    void drop() noexcept;

private:
    static constexpr std::uint16_t places = 8;  // of the kernel's ring of buffers, a power of two

    struct FreePage {
        void operator()(uring::Buf* page) const noexcept;
    };
    // A region in the kernel, whose first `used` bytes are messages already. It has a reference of
    // its own; null where memory was short.
    struct Posted {
        Region* region{nullptr};
        std::size_t used{0};
    };

    void post(std::uint16_t slot) noexcept;

    uring::Ring& ring_;
    BufferPool& pool_;
    // The ring of buffers that the kernel reads, in a page of its own. Null: none is registered.
    std::unique_ptr<uring::Buf[], FreePage> buffers_;
    std::uint16_t tail_{0};                 // of that ring: how many regions were ever posted
    std::array<Posted, posted> regions_{};  // by the kernel's name
    int refusal_{0};                        // the kernel's answer to the last provide()
};

}  // namespace iocp
