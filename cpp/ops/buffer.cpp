#include "ops/buffer.hpp"

#include <bit>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

namespace iocp {

namespace {

// An aligned allocation uses one page more than the caller gets. Large chunks spread the cost of
// that page over many blocks.
constexpr std::size_t chunk_bytes = std::size_t{1024} * 1024;

std::byte* allocate_aligned(std::size_t bytes, std::size_t alignment) noexcept {
    return static_cast<std::byte*>(
        ::operator new (bytes, std::align_val_t{alignment}, std::nothrow));
}

}  // namespace

void Region::drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
        return;
    }
    if (pool_ != nullptr) {
        pool_->put(*this);
        return;
    }
    this->~Region();
    std::free(this);
}

BufferPool* BufferPool::create(std::size_t page_size, std::size_t region_size,
                               std::size_t region_limit) {
    return new BufferPool(page_size, region_size, region_limit);
}

BufferPool::BufferPool(std::size_t page_size, std::size_t region_size,
                       std::size_t region_limit) noexcept
    : page_size_(page_size),
      region_size_(std::bit_ceil(region_size < page_size ? page_size : region_size)),
      region_limit_(region_limit),
      region_class_(static_cast<std::uint8_t>(std::bit_width(region_size_ / page_size_) - 1)) {}

BufferPool::~BufferPool() {
    for (const Chunk& chunk : chunks_) {
        ::operator delete (chunk.memory, std::align_val_t{page_size_});
    }
}

void BufferPool::close() noexcept {
    bool last = false;
    {
        const std::lock_guard lock(mutex_);
        open_ = false;
        last = occupancy_.blocks_out == 0;
    }
    if (last) {
        delete this;
    }
}

Region* BufferPool::take(std::size_t length) noexcept {
    const std::size_t pages = length == 0 ? 1 : (length - 1) / page_size_ + 1;
    const auto size_class = static_cast<std::size_t>(std::bit_width(std::bit_ceil(pages)) - 1);
    if (size_class >= max_classes) {
        return nullptr;
    }
    const std::lock_guard lock(mutex_);
    if (free_[size_class] == nullptr && !refill(size_class)) {
        return nullptr;
    }
    Region* region = free_[size_class];
    free_[size_class] = region->next_free_;
    region->references_.store(1, std::memory_order_relaxed);
    ++occupancy_.blocks_out;
    occupancy_.bytes_out += region->size_;
    if (size_class == region_class_) {
        ++occupancy_.regions_out;
    }
    return region;
}

bool BufferPool::refill(std::size_t size_class) noexcept {
    const std::size_t block = page_size_ << size_class;
    const std::size_t count = block >= chunk_bytes ? 1 : chunk_bytes / block;
    std::unique_ptr<Region[]> regions(new (std::nothrow) Region[count]);
    std::byte* memory = regions != nullptr ? allocate_aligned(block * count, page_size_) : nullptr;
    if (memory == nullptr) {
        return false;
    }
    for (std::size_t i = 0; i < count; ++i) {
        Region& region = regions[i];
        region.data_ = memory + (i * block);
        region.size_ = block;
        region.pool_ = this;
        region.size_class_ = static_cast<std::uint8_t>(size_class);
        region.next_free_ = i + 1 < count ? &regions[i + 1] : nullptr;
    }
    Region* first = regions.get();
    try {
        chunks_.push_back({memory, std::move(regions)});
    } catch (const std::bad_alloc&) {
        ::operator delete (memory, std::align_val_t{page_size_});
        return false;
    }
    free_[size_class] = first;
    occupancy_.blocks += count;
    occupancy_.bytes += block * count;
    return true;
}

void BufferPool::put(Region& region) noexcept {
    bool last = false;
    {
        const std::lock_guard lock(mutex_);
        region.next_free_ = free_[region.size_class_];
        free_[region.size_class_] = &region;
        --occupancy_.blocks_out;
        occupancy_.bytes_out -= region.size_;
        if (region.size_class_ == region_class_) {
            --occupancy_.regions_out;
        }
        last = !open_ && occupancy_.blocks_out == 0;
    }
    if (last) {
        delete this;
    }
}

bool BufferPool::hoarded() const noexcept {
    const std::lock_guard lock(mutex_);
    return occupancy_.regions_out >= region_limit_;
}

std::size_t BufferPool::blocks_out() const noexcept { return occupancy().blocks_out; }

BufferPool::Occupancy BufferPool::occupancy() const noexcept {
    const std::lock_guard lock(mutex_);
    return occupancy_;
}

Slice BufferPool::copy(const std::byte* data, std::size_t length) noexcept {
    void* memory = std::malloc(sizeof(Region) + length);
    if (memory == nullptr) {
        return {};
    }
    auto* region = new (memory) Region;
    region->data_ = reinterpret_cast<std::byte*>(region + 1);
    region->size_ = length;
    region->references_.store(1, std::memory_order_relaxed);
    if (length != 0) {
        std::memcpy(region->data_, data, length);
    }
    return {region, region->data_, length};
}

}  // namespace iocp
