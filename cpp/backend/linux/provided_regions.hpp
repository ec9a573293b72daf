#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/linux/ring.hpp"
#include "ops/buffer.hpp"

namespace iocp {

// The regions that the kernel fills with the data of multishot receives, one after the other and
// each from the front. All connections share these few regions, so the memory stays warm in the
// cache, and an idle connection holds none.
class ProvidedRegions {
public:
    static constexpr std::uint16_t group = 0;  // the id of this group of buffers (bgid)
    static constexpr std::uint16_t posted = 2;

    ProvidedRegions(uring::Ring& ring, BufferPool& pool) noexcept : ring_(ring), pool_(pool) {}
    ~ProvidedRegions() { drop(); }
    ProvidedRegions(const ProvidedRegions&) = delete;
    ProvidedRegions& operator=(const ProvidedRegions&) = delete;

    // Registers a ring of provided buffers and posts the regions to it. Precondition: no such ring
    // is registered.
    void provide() noexcept;
    // Calls provide() again, for a while, if RLIMIT_MEMLOCK had no room for its ring of buffers.
    void provide_in_time() noexcept;
    // Returns whether the last provide() succeeded: the kernel can fill the regions.
    [[nodiscard]] bool provided() const noexcept { return buffers_ != nullptr; }
    // Returns the errno with which the kernel refused the regions, or 0.
    [[nodiscard]] int refusal() const noexcept { return refusal_; }
    // Posts a region in each place where memory for one was short before.
    void post_missing() noexcept;
    // Returns the data of a completion that has filled `length` bytes of a region. `slot` is the
    // buffer id that the kernel has for the region.
    [[nodiscard]] Slice take(std::uint16_t slot, std::size_t length) noexcept;
    // Gives the regions back to the pool. Precondition: the ring is closed.
    void drop() noexcept;

private:
    static constexpr std::uint16_t places = 8;  // entries of the ring of buffers, a power of two

    struct FreePage {
        void operator()(uring::Buf* page) const noexcept;
    };
    // A region posted to the kernel, which has filled the first `used` bytes with messages. The
    // place holds a reference to its region, or null where memory was short.
    struct Posted {
        Region* region{nullptr};
        std::size_t used{0};
    };

    void post(std::uint16_t slot) noexcept;

    uring::Ring& ring_;
    BufferPool& pool_;
    // The ring of buffers that the kernel reads, in a page of its own. Null: none is registered.
    std::unique_ptr<uring::Buf[], FreePage> buffers_;
    std::uint16_t tail_{0};                 // of the ring of buffers: counts the regions posted
    std::array<Posted, posted> regions_{};  // by buffer id
    int refusal_{0};                        // the errno of the last provide(), or 0
};

}  // namespace iocp
