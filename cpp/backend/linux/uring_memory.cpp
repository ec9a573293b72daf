// UringBackend: the memory that the kernel is told of beforehand, to receive into and to send from.
#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "backend/linux/uring_backend.hpp"

namespace iocp {

namespace {

Error pin_error(int code) noexcept {
    if (code == EEXIST) {
        return Error::of(Fault::wrong_thread,
                         "another thread runs this port; memory is registered by that thread");
    }
    return {Fault::system, code, nullptr};
}

}  // namespace

void UringBackend::drop_buffers() noexcept {
    for (Posted& posted : posted_) {
        if (posted.region != nullptr) {
            posted.region->drop_reference();
        }
        posted = {};
    }
    if (buffer_ring_ != nullptr) {
        ::operator delete (buffer_ring_, std::align_val_t{system_page_size()});
        buffer_ring_ = nullptr;
    }
    buffer_tail_ = 0;
}

// A ring of regions that the kernel fills incrementally (since 6.12), so that messages of any
// number of connections share warm memory and an idle connection holds none.
bool UringBackend::provide_buffers() {
    const std::size_t page = system_page_size();
    auto* ring =
        static_cast<uring::Buf*>(::operator new (page, std::align_val_t{page}, std::nothrow));
    if (ring == nullptr) {
        return false;
    }
    std::memset(ring, 0, page);
    uring::BufReg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(ring);
    registration.ring_entries = buffer_slots;
    registration.bgid = buffer_group;
    registration.flags = uring::pbuf_ring_inc;
    buffer_ring_code_ = -ring_->register_with(uring::register_pbuf_ring, &registration, 1);
    if (buffer_ring_code_ > 0) {
        ::operator delete (ring, std::align_val_t{page});
        return false;
    }
    buffer_ring_ = ring;
    for (std::uint16_t slot = 0; slot < regions_posted; ++slot) {
        post_region(slot);
    }
    return true;
}

void UringBackend::post_region(std::uint16_t slot) {
    Posted& posted = posted_[slot];
    posted.used = 0;
    posted.region = pool_.take_region();
    if (posted.region == nullptr) {
        return;
    }
    uring::Buf& entry = buffer_ring_[buffer_tail_ & (buffer_slots - 1)];
    entry.addr = reinterpret_cast<std::uint64_t>(posted.region->data());
    entry.len = static_cast<std::uint32_t>(posted.region->size());
    entry.bid = slot;
    ++buffer_tail_;
    __atomic_store_n(&buffer_ring_[0].resv, buffer_tail_, __ATOMIC_RELEASE);
}

// A region that there was no memory for is asked for again.
void UringBackend::post_missing_regions() noexcept {
    if (buffer_ring_ == nullptr) {
        return;
    }
    for (std::uint16_t slot = 0; slot < regions_posted; ++slot) {
        if (posted_[slot].region == nullptr) {
            post_region(slot);
        }
    }
}

// The part of a posted region that one receive filled. A region is used up exactly when its bytes
// are, whatever the flags say: a receive of 0 bytes leaves it where it was.
Slice UringBackend::take_received(std::uint32_t flags, std::int32_t length) {
    const auto slot = static_cast<std::uint16_t>(flags >> uring::cqe_buffer_shift);
    Posted& posted = posted_[slot];
    Slice slice = Slice::share(*posted.region, posted.region->data() + posted.used,
                               static_cast<std::size_t>(length));
    posted.used += static_cast<std::size_t>(length);
    if (posted.used == posted.region->size()) {
        posted.region->drop_reference();
        posted.region = nullptr;
        post_region(slot);
    }
    return slice;
}

// The table of registered memory is made for the first that is to be in it.
Error UringBackend::pin(std::byte* data, std::size_t length) {
    if (pins_.empty()) {
        pins_.reserve(most_pins);
        if (const int code = make_pin_table(); code != 0) {
            return pin_error(code);
        }
        pins_.resize(most_pins);
    }
    const auto free = std::find_if(pins_.begin(), pins_.end(),
                                   [](const Pin& pin) { return pin.data == nullptr; });
    if (free == pins_.end()) {
        return Error::of(Fault::argument,
                         "64 pieces of memory are registered already; release one");
    }
    // A page inside a huge one would be charged, and locked, as the whole of it.
    (void)::madvise(data, length, MADV_NOHUGEPAGE);
    *free = {data, length};
    const int code = update_pin(static_cast<std::size_t>(free - pins_.begin()));
    if (code != 0) {
        *free = {};
        return pin_error(code);
    }
    return {};
}

int UringBackend::make_pin_table() const noexcept {
    uring::RsrcRegister table{};
    table.nr = most_pins;
    table.flags = uring::rsrc_register_sparse;
    const int result = ring_->register_with(uring::register_buffers, &table, sizeof table);
    return result < 0 ? -result : 0;
}

// A new ring knows nothing of what the one before it was told.
bool UringBackend::restore_pins() noexcept {
    if (pins_.empty()) {
        return true;
    }
    if (make_pin_table() != 0) {
        return false;
    }
    for (std::size_t slot = 0; slot < pins_.size(); ++slot) {
        if (pins_[slot].data != nullptr && update_pin(slot) != 0) {
            return false;
        }
    }
    return true;
}

bool UringBackend::unpin(std::byte* data) {
    for (Pin& pin : pins_) {
        if (pin.data == data) {
            const Pin before = std::exchange(pin, {});
            if (update_pin(static_cast<std::size_t>(&pin - pins_.data())) != 0) {
                pin = before;
                return false;
            }
        }
    }
    return true;
}

int UringBackend::update_pin(std::size_t slot) const noexcept {
    iovec memory{pins_[slot].data, pins_[slot].length};
    uring::RsrcUpdate update{};
    update.offset = static_cast<std::uint32_t>(slot);
    update.data = reinterpret_cast<std::uint64_t>(&memory);
    update.nr = 1;
    const int result = ring_->register_with(uring::register_buffers_update, &update, sizeof update);
    return result < 0 ? -result : 0;
}

int UringBackend::pin_of(const std::byte* data, std::size_t length) const noexcept {
    for (std::size_t slot = 0; slot < pins_.size(); ++slot) {
        const Pin& pin = pins_[slot];
        if (pin.data != nullptr && data >= pin.data && data + length <= pin.data + pin.length) {
            return static_cast<int>(slot);
        }
    }
    return -1;
}

}  // namespace iocp
