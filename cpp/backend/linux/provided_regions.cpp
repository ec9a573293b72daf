#include "backend/linux/provided_regions.hpp"

#include <cerrno>
#include <cstring>
#include <new>

#include "backend/linux/in_time.hpp"
#include "base/process.hpp"

namespace iocp {

void ProvidedRegions::FreePage::operator()(uring::Buf* page) const noexcept {
    ::operator delete (page, std::align_val_t{system_page_size()});
}

void ProvidedRegions::drop() noexcept {
    for (Posted& one : regions_) {
        if (one.region != nullptr) {
            one.region->drop_reference();
        }
        one = {};
    }
    buffers_.reset();
    tail_ = 0;
}

// Registers a ring of buffers that the kernel fills incrementally, which needs Linux 6.12.
void ProvidedRegions::provide() noexcept {
    const std::size_t page = system_page_size();
    buffers_.reset(
        static_cast<uring::Buf*>(::operator new (page, std::align_val_t{page}, std::nothrow)));
    if (buffers_ == nullptr) {
        refusal_ = ENOMEM;  // provide_in_time() tries again, as after the kernel's ENOMEM
        return;
    }
    std::memset(buffers_.get(), 0, page);
    uring::BufReg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(buffers_.get());
    registration.ring_entries = places;
    registration.bgid = group;
    registration.flags = uring::pbuf_ring_inc;
    refusal_ = -ring_.register_with(uring::register_pbuf_ring, &registration, 1);
    if (refusal_ > 0) {
        buffers_.reset();
        return;
    }
    post_missing();
}

// Tries again while provide() fails with ENOMEM, because the memory that the old ring had locked
// counts against the new one for a while.
void ProvidedRegions::provide_in_time() noexcept {
    (void)in_time([this] {
        if (!provided() && refusal_ == ENOMEM) {
            provide();
        }
        return provided() || refusal_ != ENOMEM;
    });
}

void ProvidedRegions::post(std::uint16_t slot) noexcept {
    Posted& one = regions_[slot];
    one.used = 0;
    one.region = pool_.take_region();
    if (one.region == nullptr) {
        return;
    }
    uring::Buf& entry = buffers_[tail_ & (places - 1)];
    entry.addr = reinterpret_cast<std::uint64_t>(one.region->data());
    entry.len = static_cast<std::uint32_t>(one.region->size());
    entry.bid = slot;
    ++tail_;
    __atomic_store_n(&buffers_[0].resv, tail_, __ATOMIC_RELEASE);
}

void ProvidedRegions::post_missing() noexcept {
    if (buffers_ == nullptr) {
        return;
    }
    for (std::uint16_t slot = 0; slot < posted; ++slot) {
        if (regions_[slot].region == nullptr) {
            post(slot);
        }
    }
}

// Takes the next bytes of a region. A region is used up exactly when all its bytes are. The flags
// of a completion do not show that: a receive of 0 bytes leaves the region in the ring.
Slice ProvidedRegions::take(std::uint16_t slot, std::size_t length) noexcept {
    Posted& one = regions_[slot];
    Slice slice = Slice::share(*one.region, one.region->data() + one.used, length);
    one.used += length;
    if (one.used == one.region->size()) {
        one.region->drop_reference();
        one.region = nullptr;
        post(slot);
    }
    return slice;
}

}  // namespace iocp
