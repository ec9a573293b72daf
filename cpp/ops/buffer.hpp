#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace iocp {

class BufferPool;

// Memory that several slices may share: a page-aligned block of a pool, or a private copy on the
// heap. Dropping the last reference returns the memory to the pool or to the heap.
class Region {
public:
    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept;
    // Returns whether the caller holds the only reference. If so, the caller also sees everything
    // that former holders wrote.
    [[nodiscard]] bool exclusive() const noexcept {
        return references_.load(std::memory_order_acquire) == 1;
    }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    friend class BufferPool;
    std::byte* data_{nullptr};
    std::size_t size_{0};
    BufferPool* pool_{nullptr};  // null for a private copy
    Region* next_free_{nullptr};
    std::uint8_t size_class_{0};
    std::atomic<std::uint32_t> references_{0};
};

// A part of a region. A slice holds a reference to its region, which keeps the region alive.
// Received messages are slices.
class Slice {
public:
    Slice() noexcept = default;
    Slice(Region* adopted, std::byte* data, std::size_t length) noexcept
        : region_(adopted), data_(data), length_(length) {}
    Slice(Slice&& other) noexcept
        : region_(std::exchange(other.region_, nullptr)),
          data_(std::exchange(other.data_, nullptr)),
          length_(std::exchange(other.length_, 0)) {}
    Slice& operator=(Slice&& other) noexcept {
        if (this != &other) {
            reset();
            region_ = std::exchange(other.region_, nullptr);
            data_ = std::exchange(other.data_, nullptr);
            length_ = std::exchange(other.length_, 0);
        }
        return *this;
    }
    Slice(const Slice&) = delete;
    Slice& operator=(const Slice&) = delete;
    ~Slice() { reset(); }

    static Slice share(Region& region, std::byte* data, std::size_t length) noexcept {
        region.add_reference();
        return {&region, data, length};
    }

    void reset() noexcept {
        if (region_ != nullptr) {
            region_->drop_reference();
            region_ = nullptr;
        }
        data_ = nullptr;
        length_ = 0;
    }
    // Gives the slice's reference to the caller, who must drop it.
    [[nodiscard]] Region* release() noexcept { return std::exchange(region_, nullptr); }
    void shorten(std::size_t length) noexcept { length_ = length; }

    [[nodiscard]] Region* region() const noexcept { return region_; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t length() const noexcept { return length_; }

private:
    Region* region_{nullptr};
    std::byte* data_{nullptr};
    std::size_t length_{0};
};

// The memory of an operation, and the function that gives it back to its owner. The memory is a
// pool block or the caller's own buffer. The core never reads what `owner` points to.
struct Lease {
    std::byte* data{nullptr};
    std::size_t length{0};
    void* owner{nullptr};
    void (*release)(void* owner){nullptr};

    void give_back() noexcept {
        if (release != nullptr) {
            std::exchange(release, nullptr)(owner);
        }
        data = nullptr;
        length = 0;
        owner = nullptr;
    }
};

// Page-aligned blocks in power-of-two sizes, kept for reuse. The pool lives until its port has
// ended and every lent block is back; then its memory returns to the system. Thread-safe, because
// any thread may drop the last reference to a block.
class BufferPool {
public:
    static BufferPool* create(std::size_t page_size, std::size_t region_size,
                              std::size_t region_limit);
    void close() noexcept;  // the port has ended: the pool is deleted once no block is lent

    // Returns a block of at least `length` bytes with one reference, or null when memory is short.
    [[nodiscard]] Region* take(std::size_t length) noexcept;
    // Returns a region for many messages to share, or null when memory is short.
    [[nodiscard]] Region* take_region() noexcept { return take(region_size_); }
    // Returns whether `region_limit` regions or more are lent. Further messages must then be
    // copied, so that they keep no region.
    [[nodiscard]] bool hoarded() const noexcept;
    // Copies the bytes to the heap, so that the slice keeps no region of the pool. Empty when
    // memory is short.
    [[nodiscard]] static Slice copy(const std::byte* data, std::size_t length) noexcept;

    [[nodiscard]] std::size_t region_size() const noexcept { return region_size_; }
    [[nodiscard]] std::size_t blocks_out() const noexcept;

    // The blocks and bytes that the pool has allocated, and those of them that are lent (`_out`).
    // `regions_out` counts the lent blocks of `region_size` bytes, which several messages share.
    struct Occupancy {
        std::size_t blocks{0}, bytes{0};
        std::size_t blocks_out{0}, bytes_out{0}, regions_out{0};
    };
    [[nodiscard]] Occupancy occupancy() const noexcept;

    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

private:
    friend class Region;
    BufferPool(std::size_t page_size, std::size_t region_size, std::size_t region_limit) noexcept;
    ~BufferPool();
    void put(Region& region) noexcept;
    [[nodiscard]] bool refill(std::size_t size_class) noexcept;

    static constexpr std::size_t max_classes = 24;

    // Blocks of one size class that were allocated together.
    struct Chunk {
        std::byte* memory;
        std::unique_ptr<Region[]> regions;
    };

    mutable std::mutex mutex_;
    std::size_t page_size_;
    std::size_t region_size_;
    std::size_t region_limit_;
    std::uint8_t region_class_{0};
    bool open_{true};
    Occupancy occupancy_;
    // The free blocks of each size class. The block returned last is lent first, because it may
    // still be in the CPU's cache.
    std::array<Region*, max_classes> free_{};
    std::vector<Chunk> chunks_;
};

}  // namespace iocp
