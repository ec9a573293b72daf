#pragma once

#include <cstddef>

#include "ops/buffer.hpp"

namespace iocp {

// The memory that drains read into: a region of the pool that its messages share. The region is
// used again, while it is warm, as soon as no message holds any part.
class ReadSpace {
public:
    explicit ReadSpace(BufferPool& pool) noexcept : pool_(pool) {}
    ~ReadSpace() { release(); }
    ReadSpace(const ReadSpace&) = delete;
    ReadSpace& operator=(const ReadSpace&) = delete;

    // Returns whether there is room to read `bytes`.
    [[nodiscard]] bool reserve(std::size_t bytes) noexcept;
    // Precondition of the rest: reserve() has succeeded since the last take().
    [[nodiscard]] std::byte* data() const noexcept { return region_->data() + used_; }
    [[nodiscard]] std::size_t room() const noexcept { return region_->size() - used_; }
    // Makes a message that shares the region. Precondition: it lies in data() .. data() + room().
    [[nodiscard]] Slice share(std::byte* at, std::size_t length) const noexcept {
        return Slice::share(*region_, at, length);
    }
    void take(std::size_t bytes) noexcept { used_ += bytes; }
    // Aligns the next data().
    void align(std::size_t alignment) noexcept {
        used_ = (used_ + alignment - 1) / alignment * alignment;
    }
    void release() noexcept;

private:
    BufferPool& pool_;
    Region* region_{nullptr};  // holds one reference
    std::size_t used_{0};      // bytes from the region's start that messages have or had
};

}  // namespace iocp
