#include "core/subscriptions.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "core/datagram.hpp"

namespace iocp {

namespace {

// Drains read into at least this much space, so that the end of a region rarely splits a message.
constexpr std::size_t min_space = std::size_t{64} << 10U;

}  // namespace

void Subscriptions::start(Socket& socket, Operation& op) {
    if (!Standing::startable(socket, op)) {
        return;
    }
    if (op.switched) {
        op.switched = false;
        op.readiness_only = false;
        op.small_reads = 0;
        op.large_packets = 0;
        if (op.lease.data != nullptr) {
            drop_block(op);
        }
    }
    bool lacks = false;
    for (unsigned i = 0; i < options_.drain.reads && completions_.reserve(1); ++i) {
        if (op.strategy == ReceiveStrategy::pooled) {
            op.readiness_only = op.readiness_only || lacks || !capabilities_.multishot_receive;
        } else if (op.strategy != ReceiveStrategy::direct) {
            op.readiness_only = true;
        } else {
            op.readiness_only = lacks || (op.lease.data == nullptr && !lease_block(op));
        }
        const StartResult result = calls_.start(op, 1);
        if (result.start == Start::pending) {
            socket.receiving.started = 1;
            return;
        }
        if (op.readiness_only && result.start == Start::done) {
            standing_.read_later(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            if (!op.readiness_only && backend_.exhausted(static_cast<int>(result.value))) {
                drop_block(op);
                lacks = true;  // try a readiness wait, which needs less memory of the system
                continue;
            }
            fail_request(socket, op, static_cast<int>(result.value));
            return;
        }
        const bool filled = static_cast<std::uint32_t>(result.value) == op.block_size;
        deliver_block(socket, op, static_cast<std::size_t>(result.value));
        if (op.finished()) {
            return;
        }
        if (capabilities_.start_reads && !filled) {
            break;
        }
    }
    standing_.later(socket);
}

void Subscriptions::go_on(Socket& socket, Operation& op) {
    if (op.readiness_only && op.reads_next) {
        drain(socket, op);
    } else {
        start(socket, op);
    }
}

// Continues the subscription after a delivery. Where a start already reads data, the next turn
// makes it. The application's answers are sent by then, and the read may find the peer's replies.
void Subscriptions::start_again(Socket& socket, Operation& op) {
    if (capabilities_.start_reads) {
        standing_.later(socket);
    } else {
        start(socket, op);
    }
}

// Takes a buffer for the direct strategy. Returns false without memory or budget: the subscription
// then makes a readiness wait, and never fails for lack of a buffer.
bool Subscriptions::lease_block(Operation& op) noexcept {
    op.yields = false;
    Region* region = pool_.take(op.block_size);
    if (region == nullptr) {
        return false;
    }
    op.lease = {region->data(), op.block_size, region,
                [](void* owner) { static_cast<Region*>(owner)->drop_reference(); }};
    op.transferred = 0;
    if (!admission_.charge_block(op)) {
        op.lease.give_back();
        return false;
    }
    return true;
}

void Subscriptions::drop_block(Operation& op) noexcept {
    admission_.leave(op);
    op.lease.give_back();
}

void Subscriptions::complete(Socket& socket, Operation& op, Packet& packet) {
    Lane& lane = socket.receiving;
    if (op.readiness_only && packet.result >= 0 && packet.ready) {
        if (op.cancel_requested) {
            cancels_.finish_cancelled(lane);
        } else if (!socket.reading_paused) {
            op.reads_next = false;
            drain(socket, op);
        }
    } else if (packet.ready) {
        if (op.cancel_requested) {
            cancels_.finish_cancelled(lane);
        }
        // If the subscription was not cancelled, the caller starts it again, with the buffer that
        // it has.
    } else if (packet.result < 0) {
        fail_request(socket, op, static_cast<int>(-packet.result));
    } else {
        complete_data(socket, op, packet);
    }
}

// Handles a request of the subscription that ended without data.
void Subscriptions::fail_request(Socket& socket, Operation& op, int code) noexcept {
    metrics_.counts.degraded += op.yields ? 1 : 0;
    drop_block(op);
    if (!backend_.cancelled(code) && !backend_.exhausted(code)) {
        standing_.fail(socket, op, calls_.error(code));
        return;
    }
    // The same request would lack the same resource again. A multishot receive without provided
    // buffers is replaced by a readiness wait with reads. Other subscriptions pause first.
    if (backend_.exhausted(code) && !op.cancel_requested) {
        if (op.readiness_only || op.strategy == ReceiveStrategy::direct) {
            standing_.pause(op);
        }
        op.readiness_only = true;
    }
    cancels_.finish_cancelled(socket.receiving);  // otherwise the subscription starts again
}

void Subscriptions::complete_data(Socket& socket, Operation& op, Packet& packet) {
    const auto bytes = static_cast<std::size_t>(packet.result);
    if (op.lease.data != nullptr) {
        deliver_block(socket, op, bytes);
        if (capabilities_.start_reads && !op.finished()) {
            standing_.later(socket);
        }
    } else if (bytes == 0) {
        end_of_stream(socket, op);
    } else {
        const bool switched = adapt(op, bytes, true);
        deliver(socket, op, std::move(packet.slice));
        if (switched && packet.more) {
            calls_.cancel(op);
        }
    }
    if (socket.receiving.started == 0 && op.cancel_requested) {
        cancels_.finish_cancelled(socket.receiving);
    }
}

void Subscriptions::deliver(Socket& socket, Operation& op, Slice slice) noexcept {
    socket.nagle.heard();
    if (slice.length() != 0 && slice.region() != nullptr &&
        slice.region()->size() >= pool_.region_size() && pool_.hoarded()) {
        Slice copy = BufferPool::copy(slice.data(), slice.length());
        if (copy.region() != nullptr) {
            slice = std::move(copy);
        }
    }
    if (slice.length() != 0) {
        if (op.adaptive) {
            note_busy(socket, op);
        }
        socket.note_received(timers_.milliseconds());
    }
    Ready ready;
    ready.what = Ready::What::data;
    ready.socket = &socket;
    ready.op = &op;
    ready.slice = std::move(slice);
    completions_.push(std::move(ready));
}

// Delivers the data in the posted buffer by handing out the buffer itself, without a copy.
void Subscriptions::deliver_block(Socket& socket, Operation& op, std::size_t length) noexcept {
    admission_.leave(op);
    auto* region = static_cast<Region*>(op.lease.owner);
    op.lease = {};
    Slice slice(region, region->data(), length);
    if (length == 0) {
        slice.reset();
        end_of_stream(socket, op);
    } else {
        deliver(socket, op, std::move(slice));
    }
}

void Subscriptions::end_of_stream(Socket& socket, Operation& op) noexcept {
    if (Endings::fails(op)) {
        // Another operation got the socket's error, so this subscription found the end of the
        // stream instead, and ends with the same error.
        standing_.end(socket, op, socket.failure);
        return;
    }
    deliver(socket, op, {});
    socket.read_ended = true;
    standing_.end(socket, op, {});
}

// Reads until the call would block, at most drain_reads times and drain_bytes in one turn (R12).
void Subscriptions::drain(Socket& socket, Operation& op) {
    if (!turn_has_room() || socket.drain_turn == turn_number_) {
        standing_.read_later(socket, op);
        return;
    }
    socket.drain_turn = turn_number_;
    ++metrics_.counts.drains;
    if (socket.stream) {
        drain_stream(socket, op);
    } else {
        drain_datagrams(socket, op);
    }
}

void Subscriptions::drain_stream(Socket& socket, Operation& op) {
    std::size_t total = 0;
    for (unsigned i = 0; i < options_.drain.reads && total < options_.drain.bytes; ++i) {
        if (!space_.reserve(min_space) || !completions_.reserve(1)) {
            break;
        }
        std::byte* at = space_.data();
        const std::size_t room = std::min(space_.room(), options_.drain.bytes - total);
        const StartResult result =
            calls_.within_memory([&] { return backend_.read(socket, at, room); });
        if (result.start == Start::pending) {
            (void)adapt(op, total, false);
            start(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            const Error error = calls_.error(static_cast<int>(result.value));
            if (error.fault == Fault::resource) {
                break;  // read again next turn
            }
            standing_.fail(socket, op, error);
            return;
        }
        if (result.value == 0) {
            end_of_stream(socket, op);
            return;
        }
        const auto got = static_cast<std::size_t>(result.value);
        Slice slice = space_.share(at, got);
        space_.take(got);
        total += got;
        drained_bytes_ += got;
        deliver(socket, op, std::move(slice));
        if (got < room && backend_.drained(socket)) {
            (void)adapt(op, total, false);
            start_again(socket, op);
            return;
        }
    }
    standing_.read_later(socket, op);
}

// Returns the datagram as a part of the region that it was read into. If many regions are lent,
// returns a copy instead, which keeps no region.
Slice Subscriptions::datagram(std::byte* at, std::size_t length) const noexcept {
    if (pool_.hoarded()) {
        Slice copy = BufferPool::copy(at, datagram::address_bytes + length);
        if (copy.region() != nullptr) {
            std::byte* data = copy.data() + datagram::address_bytes;
            return {copy.release(), data, length};
        }
    }
    return space_.share(at + datagram::address_bytes, length);
}

// Pauses after a round that met only errors: some errors last until their cause is gone.
void Subscriptions::drain_datagrams(Socket& socket, Operation& op) {
    std::size_t total = 0;
    bool only_errors = true;
    for (unsigned i = 0; i < options_.drain.reads && total < options_.drain.bytes; ++i) {
        space_.align(datagram::alignment);
        if (!space_.reserve(datagram::address_bytes + op.block_size) || !completions_.reserve(2)) {
            standing_.read_later(socket, op);
            return;
        }
        std::byte* at = space_.data();
        auto* from = new (at) Address;
        const StartResult result = calls_.within_memory([&] {
            return backend_.read_from(socket, at + datagram::address_bytes, op.block_size, *from);
        });
        if (result.start == Start::pending) {
            start(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            standing_.fail_item(socket, op, static_cast<int>(result.value));
            if (op.finished() || op.paused) {
                return;
            }
            continue;
        }
        only_errors = false;
        const auto got = static_cast<std::size_t>(result.value);
        if (result.flags != 0) {
            standing_.report(socket, op,
                             Error::of(Fault::truncated,
                                       "the next datagram is longer than size and was truncated; "
                                       "give receive_from() a larger size"));
        }
        Ready ready;
        ready.what = Ready::What::datagram;
        ready.socket = &socket;
        ready.op = &op;
        ready.slice = datagram(at, got);
        completions_.push(std::move(ready));
        space_.take(datagram::address_bytes + got);  // an empty record has a sender's address too
        if (result.ended) {
            standing_.end(socket, op, {});
            return;
        }
        total += got;
        drained_bytes_ += got;
    }
    if (only_errors) {
        standing_.pause(op);
    } else {
        standing_.read_later(socket, op);
    }
}

bool Subscriptions::pause(Socket& socket) noexcept {
    if (socket.reading_paused) {
        return false;
    }
    completions_.pause(socket);
    const Lane& lane = socket.receiving;
    if (socket.state == SocketState::open && lane.started != 0 && lane.head->subscription()) {
        calls_.cancel(*lane.head);
    }
    return true;
}

bool Subscriptions::resume(Socket& socket) noexcept {
    if (!socket.reading_paused) {
        return false;
    }
    completions_.end_pause(socket);
    if (socket.state == SocketState::open) {
        socket.active_ms = timers_.milliseconds();  // the pause does not count as idle time
        work_.add(socket, effect::start_receiving);
    }
    work_.add(socket, effect::settle);
    return true;
}

}  // namespace iocp
