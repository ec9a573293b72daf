#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backend/sim/memory.hpp"

namespace iocp::sim {

// Bytes in arrival order. The position of a byte counts from the first byte ever appended.
class ByteQueue {
public:
    void append(const std::byte* data, std::size_t length) {
        const std::size_t at = extend(length);
        std::copy_n(data, length, bytes_.data() + at);
    }
    // Returns room for `length` bytes at the end; the caller fills it.
    std::byte* grow(std::size_t length) {
        const std::size_t at = extend(length);
        return bytes_.data() + at;
    }
    void drop(std::size_t length) {
        head_ += length;
        front_ += length;
        if (head_ == bytes_.size()) {
            head_ = 0;
            if (bytes_.capacity() > idle_bytes) {
                Vector<std::byte>().swap(bytes_);
            } else {
                bytes_.clear();
            }
        }
    }
    [[nodiscard]] const std::byte* at(std::uint64_t position) const noexcept {
        return bytes_.data() + head_ + (position - front_);
    }
    [[nodiscard]] std::uint64_t front() const noexcept { return front_; }
    [[nodiscard]] std::uint64_t back() const noexcept { return front_ + size(); }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() - head_; }

private:
    static constexpr std::size_t idle_bytes = 4096;  // the capacity that an empty queue may keep

    std::size_t extend(std::size_t length) {
        if (head_ > bytes_.size() / 2) {
            bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
            head_ = 0;
        }
        const std::size_t at = bytes_.size();
        bytes_.resize(at + length);
        return at;
    }

    Vector<std::byte> bytes_;
    std::size_t head_{0};
    std::uint64_t front_{0};
};

}  // namespace iocp::sim
