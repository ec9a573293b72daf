// Port: receive_each of a datagram socket: every datagram with its sender, and no error ends it.
#include <algorithm>
#include <cstring>
#include <new>

#include "core/port.hpp"

namespace iocp {

namespace {

// A datagram lies in its region behind the address of its sender.
constexpr std::size_t alignment = alignof(std::max_align_t);
constexpr std::size_t address_bytes = (sizeof(Address) + alignment - 1) / alignment * alignment;

}  // namespace

std::size_t Port::most_datagram() const noexcept { return pool_.region_size() - address_bytes; }

// Where readers hold many regions, a copy that holds nothing else.
Slice Port::datagram(std::byte* at, std::size_t length) const {
    if (pool_.hoarded()) {
        Slice copy = BufferPool::copy(at, address_bytes + length);
        if (copy.region() != nullptr) {
            std::byte* data = copy.data() + address_bytes;
            return {copy.release(), data, length};
        }
    }
    return Slice::share(*space_, at + address_bytes, length);
}

// Takes what is there, at most drain_reads datagrams and drain_bytes bytes in one turn. Where there
// are errors and nothing else, the next look is a while away: some last until their cause is gone.
void Port::drain_datagrams(Socket& socket, Operation& op) {
    std::size_t total = 0;
    bool only_errors = true;
    for (unsigned i = 0; i < options_.drain_reads && total < options_.drain_bytes; ++i) {
        space_used_ = (space_used_ + alignment - 1) / alignment * alignment;
        if (!reserve_space(address_bytes + op.block_size) || !ready_.reserve(2)) {
            read_later(socket, op);
            return;
        }
        std::byte* at = space_->data() + space_used_;
        auto* from = new (at) Address;
        const StartResult result = within_memory(
            [&] { return backend_->read_from(socket, at + address_bytes, op.block_size, *from); });
        if (result.start == Start::pending) {
            start_subscription(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            item_failed(socket, op, static_cast<int>(result.value));
            if (op.finished() || op.paused) {
                return;
            }
            continue;
        }
        only_errors = false;
        const auto got = static_cast<std::size_t>(result.value);
        if (result.flags != 0) {
            tell(socket, op, Error::of(Fault::truncated, "the datagram that follows was cut"));
        }
        Ready ready;
        ready.what = Ready::What::datagram;
        ready.socket = &socket;
        ready.op = &op;
        ready.slice = datagram(at, got);
        push(std::move(ready));
        if (result.ended) {
            socket.receiving.pop();
            finish(op, {});
            return;
        }
        space_used_ += address_bytes + got;
        total += got;
        drained_bytes_ += got;
    }
    if (only_errors) {
        pause(op);
    } else {
        read_later(socket, op);
    }
}

// Precondition: the slice is one of datagram().
const Address& Port::sender_of(const Slice& slice) noexcept {
    return *std::launder(reinterpret_cast<const Address*>(slice.data() - address_bytes));
}

}  // namespace iocp
