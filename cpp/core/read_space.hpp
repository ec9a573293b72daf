#pragma once

#include <cstddef>

#include "ops/buffer.hpp"

namespace iocp {

// The memory that drains read into: a region of the pool that the received messages share. The
// region is used again from its start as soon as no message holds a part of it, because it may
// still be in the CPU's cache.
class ReadSpace {
public:
    explicit ReadSpace(BufferPool& pool) noexcept : pool_(pool) {}
    ~ReadSpace() { release(); }
    ReadSpace(const ReadSpace&) = delete;
    ReadSpace& operator=(const ReadSpace&) = delete;

    // Makes room to read `bytes` bytes. Returns false without memory.
    [[nodiscard]] bool reserve(std::size_t bytes) noexcept;
    // data(), room(), share() and take() need a successful reserve() since the last take().
    [[nodiscard]] std::byte* data() const noexcept { return region_->data() + used_; }
    [[nodiscard]] std::size_t room() const noexcept { return region_->size() - used_; }
    // Makes a message that shares the region. Precondition: its bytes lie in data() .. data() +
    // room().
    [[nodiscard]] Slice share(std::byte* at, std::size_t length) const noexcept {
        return Slice::share(*region_, at, length);
    }
    void take(std::size_t bytes) noexcept { used_ += bytes; }
    // Moves the next data() up to a multiple of `alignment`.
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
