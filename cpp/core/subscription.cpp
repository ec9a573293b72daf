// Port: receive_each and accept_each, the operations that yield many results (R11-R13, R32).
#include <algorithm>

#include "core/port.hpp"

namespace iocp {

namespace {

constexpr unsigned accepts_per_turn = 64;
constexpr std::int64_t refusal_pause = 100'000'000;  // of a subscription that only meets errors
// Drains read into at least this much space, so that a message is rarely cut by a region's end.
constexpr std::size_t least_space = std::size_t{64} << 10U;
constexpr std::size_t turn_bytes = std::size_t{256} << 10U;
// A message of `large` bytes is served better by a read into warm memory than by a standing
// receive; `patience` of a kind in a row change the way a pooled subscription receives.
constexpr std::size_t large = std::size_t{8} << 10U;
constexpr std::size_t small = std::size_t{4} << 10U;
constexpr std::uint8_t large_patience = 2;
constexpr std::uint8_t small_patience = 32;

}  // namespace

void Port::start_subscription(Socket& socket, Operation& op) {
    if (socket.drain_listed || op.paused || socket.reading_paused) {
        return;
    }
    if (op.kind == Kind::accept_each) {
        start_accept_each(socket, op);
    } else {
        start_receive_each(socket, op);
    }
}

// Accepts what is there, at most accepts_per_turn, and goes on waiting. No error but the listener's
// own end stops it (R32).
void Port::start_accept_each(Socket& socket, Operation& op) {
    for (unsigned i = 0; i < accepts_per_turn && ready_.reserve(1); ++i) {
        if (at_cap(op)) {
            return;
        }
        const StartResult result = try_accept(op);
        if (result.start == Start::pending) {
            socket.receiving.started = 1;
            return;
        }
        if (result.start == Start::failed) {
            item_failed(socket, op, static_cast<int>(result.value));
            if (op.finished() || op.paused) {
                return;
            }
            continue;
        }
        Ready ready;
        ready.what = Ready::What::accepted;
        ready.socket = &socket;
        ready.op = &op;
        ready.accepted = accepted(socket, result.accepted);
        if (ready.accepted == nullptr) {
            tell(socket, op, no_socket);
            pause(op);
            return;
        }
        ready.accepted->capped = true;
        ++capped_sockets_;
        push(std::move(ready));
    }
    later(socket);
}

// Without memory for a socket and its timer nothing is accepted: the connection stays in the
// listener's queue.
bool Port::room_for_connection() noexcept {
    return sockets_.reserve() && (options_.idle_timeout == 0 || timers_.reserve(1));
}

StartResult Port::try_accept(Operation& op) noexcept {
    if (!room_for_connection()) {
        return {Start::failed, backend_->memory_code()};
    }
    return within_memory([&] { return backend_->start(op, 1); });
}

// With as many connections as the port may have, who comes next waits in the listener's queue.
bool Port::at_cap(Operation& op) {
    if (options_.max_connections == 0 || capped_sockets_ < options_.max_connections) {
        return false;
    }
    try {
        capped_.push_back(op.id);
        op.paused = true;
    } catch (const std::bad_alloc&) {
        later(*op.socket);  // it looks again in the next turn
    }
    return true;
}

void Port::resume_capped() {
    for (const SlotId id : std::exchange(capped_, {})) {
        Operation* op = operations_.find(id);
        if (op != nullptr && op->paused && !op->finished()) {
            op->paused = false;
            later(*op->socket);
        }
    }
}

Socket* Port::accepted(Socket& listener, Handle handle) {
    Socket* socket = new_socket(handle);
    if (socket == nullptr) {
        close_unused(handle);
        return nullptr;
    }
    socket->family = listener.family;
    socket->type = listener.type;
    socket->protocol = listener.protocol;
    socket->stream = listener.stream;
    socket->connected = true;
    socket->unclaimed = true;
    if (!watch_idle(*socket)) {
        close_unused(handle);
        give_back(*socket);
        return nullptr;
    }
    if (listener.gives_nodelay) {
        set_nodelay(*socket);
    }
    return socket;
}

void Port::item_failed(Socket& socket, Operation& op, int code) {
    const Error error = system_error(code);
    if (backend_->fatal(op, code)) {
        Lane& lane = socket.receiving;
        lane.pop();
        finish(op, error);
        fail_socket(socket, error);
        return;
    }
    tell(socket, op, error);
    if (error.fault == Fault::resource) {
        pause(op);
    }
}

void Port::tell(Socket& socket, Operation& op, Error error) {
    Ready ready;
    ready.what = Ready::What::item_error;
    ready.socket = &socket;
    ready.op = &op;
    ready.error = error;
    push(std::move(ready));
}

void Port::pause(Operation& op) {
    op.deadline = arm(refusal_pause, TimerKind::subscription_retry, &op);
    op.paused = op.deadline != nullptr;
    if (!op.paused) {
        later(*op.socket);
    }
}

// A posted buffer of the direct strategy. Without memory or budget for it the subscription watches
// instead: it never fails for lack of a buffer.
Error Port::lease_block(Operation& op) {
    op.yields = false;
    Region* region = pool_.take(op.block_size);
    if (region == nullptr) {
        return Error::of(Fault::resource, "no memory for a receive buffer");
    }
    op.lease = {region->data(), op.block_size, region,
                [](void* owner) { static_cast<Region*>(owner)->drop_reference(); }};
    op.transferred = 0;
    const std::size_t pages = pages_of(op);
    if (!held_.empty() || !admissible(op, pages) || (op.adaptive && tight())) {
        op.lease.give_back();
        ++counts_.refusals;
        return Error::of(Fault::budget, "the budget has no room for a posted receive");
    }
    admit(op, pages);
    return {};
}

void Port::start_receive_each(Socket& socket, Operation& op) {
    if (op.switched) {
        op.switched = false;
        op.watching = false;
        op.small_reads = 0;
        op.large_packets = 0;
        if (op.lease.data != nullptr) {
            leave(op);
            op.lease.give_back();
        }
    }
    bool lacks = false;
    for (unsigned i = 0; i < options_.drain_reads && ready_.reserve(1); ++i) {
        if (op.strategy == Receive::pooled) {
            op.watching = op.watching || lacks || !capabilities_.multishot_receive;
        } else if (op.strategy != Receive::direct) {
            op.watching = true;
        } else {
            op.watching = lacks || (op.lease.data == nullptr && lease_block(op));
        }
        const StartResult result = within_memory([&] { return backend_->start(op, 1); });
        if (result.start == Start::pending) {
            socket.receiving.started = 1;
            return;
        }
        if (op.watching && result.start == Start::done) {
            read_later(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            if (!op.watching && backend_->exhausted(static_cast<int>(result.value))) {
                leave(op);
                op.lease.give_back();
                lacks = true;  // watching needs less of the system
                continue;
            }
            Packet packet;
            packet.result = -result.value;
            subscription_packet(socket, op, packet);
            return;
        }
        const bool filled = static_cast<std::uint32_t>(result.value) == op.block_size;
        direct_data(socket, op, static_cast<std::size_t>(result.value));
        if (op.finished()) {
            return;
        }
        if (capabilities_.start_reads && !filled) {
            break;
        }
    }
    later(socket);
}

// After what came was handed out. Where a start reads at once what is there, it is made when the
// answers have gone, and finds what they brought instead of waiting for it.
void Port::start_again(Socket& socket, Operation& op) {
    if (capabilities_.start_reads) {
        later(socket);
    } else {
        start_subscription(socket, op);
    }
}

void Port::subscription_packet(Socket& socket, Operation& op, Packet& packet) {
    Lane& lane = socket.receiving;
    if (!packet.more) {
        lane.started = 0;
    }
    if (op.kind == Kind::accept_each || (op.watching && packet.result >= 0 && packet.ready)) {
        if (op.cancel_requested) {
            finish_cancelled(lane);
        } else if (packet.result < 0 && !backend_->cancelled(static_cast<int>(-packet.result))) {
            item_failed(socket, op, static_cast<int>(-packet.result));
        } else if (packet.result < 0) {
            // The system ended the request by itself: it is started again.
        } else if (op.kind == Kind::receive_each && !socket.reading_paused) {
            op.reads_next = false;
            drain(socket, op);
        }
        return;
    }
    if (packet.ready) {
        if (op.cancel_requested) {
            finish_cancelled(lane);
        }
        return;  // otherwise it is started again, with the buffer it has
    }
    if (packet.result < 0) {
        counts_.degraded += op.yields ? 1 : 0;
        leave(op);
        op.lease.give_back();
        const auto code = static_cast<int>(-packet.result);
        if (backend_->cancelled(code) || backend_->exhausted(code)) {
            // Started again the same way it would meet the same lack: where no memory was left to
            // pick, reads bring the data, and whoever picks none waits.
            if (backend_->exhausted(code) && !op.cancel_requested) {
                if (op.watching || op.strategy == Receive::direct) {
                    pause(op);
                }
                op.watching = true;
            }
            finish_cancelled(lane);  // otherwise it is started again
            return;
        }
        const Error error = system_error(code);
        lane.pop();
        finish(op, error);
        fail_socket(socket, error);
        return;
    }
    if (op.lease.data != nullptr) {
        direct_data(socket, op, static_cast<std::size_t>(packet.result));
        if (capabilities_.start_reads && !op.finished()) {
            later(socket);
        }
    } else if (packet.result == 0) {
        end_of_stream(socket, op);
    } else {
        const bool switched = adapt(op, static_cast<std::size_t>(packet.result), true);
        deliver(socket, op, std::move(packet.slice));
        if (switched && packet.more) {
            ask_cancel(op);
        }
    }
    if (lane.started == 0 && op.cancel_requested) {
        finish_cancelled(lane);
    }
}

void Port::deliver(Socket& socket, Operation& op, Slice slice) {
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
            busier(socket, op);
        }
        moved_bytes(socket);
    }
    Ready ready;
    ready.what = Ready::What::data;
    ready.socket = &socket;
    ready.op = &op;
    ready.slice = std::move(slice);
    push(std::move(ready));
}

void Port::end_of_stream(Socket& socket, Operation& op) {
    if (fails(op)) {
        // The error went to another operation, and only the silence after it came here.
        socket.receiving.pop();
        finish(op, socket.failure);
        return;
    }
    deliver(socket, op, {});
    socket.read_ended = true;
    socket.receiving.pop();
    finish(op, {});
}

void Port::direct_data(Socket& socket, Operation& op, std::size_t length) {
    leave(op);
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

bool Port::reserve_space(std::size_t least) noexcept {
    if (space_ != nullptr && space_->exclusive()) {
        space_used_ = 0;  // every message cut from it is gone: what is warm is used again
        return true;
    }
    if (space_ != nullptr && space_->size() >= space_used_ + least) {
        return true;
    }
    Region* fresh = pool_.take_region();
    if (fresh == nullptr) {
        return false;
    }
    if (space_ != nullptr) {
        space_->drop_reference();
    }
    space_ = fresh;
    space_used_ = 0;
    return true;
}

// Reads until the call would block, at most drain_reads times and drain_bytes in one turn (R12).
// The turn as a whole reads no more than fits the cache: what it read is handed out, and the
// answers sent, before more is read.
void Port::drain(Socket& socket, Operation& op) {
    if (drained_bytes_ >= turn_bytes || socket.drain_turn == turn_number_) {
        read_later(socket, op);
        return;
    }
    socket.drain_turn = turn_number_;
    ++counts_.drains;
    if (!socket.stream) {
        drain_datagrams(socket, op);
        return;
    }
    std::size_t total = 0;
    for (unsigned i = 0; i < options_.drain_reads && total < options_.drain_bytes; ++i) {
        if (!reserve_space(least_space) || !ready_.reserve(1)) {
            break;
        }
        std::byte* at = space_->data() + space_used_;
        const std::size_t room =
            std::min(space_->size() - space_used_, options_.drain_bytes - total);
        const StartResult result = within_memory([&] { return backend_->read(socket, at, room); });
        if (result.start == Start::pending) {
            (void)adapt(op, total, false);
            start_subscription(socket, op);
            return;
        }
        if (result.start == Start::failed) {
            const Error error = system_error(static_cast<int>(result.value));
            if (error.fault == Fault::resource) {
                break;  // read again next turn
            }
            socket.receiving.pop();
            finish(op, error);
            fail_socket(socket, error);
            return;
        }
        if (result.value == 0) {
            end_of_stream(socket, op);
            return;
        }
        const auto got = static_cast<std::size_t>(result.value);
        space_used_ += got;
        total += got;
        drained_bytes_ += got;
        deliver(socket, op, Slice::share(*space_, at, got));
        if (got < room && backend_->drained(socket)) {
            (void)adapt(op, total, false);
            start_again(socket, op);
            return;
        }
    }
    read_later(socket, op);
}

// Hysteresis between a standing receive, best for small messages, and watching plus reads, best for
// large ones. Only pooled subscriptions of a backend that has both come here with an effect.
bool Port::adapt(Operation& op, std::size_t bytes, bool multishot) const noexcept {
    if (op.strategy != Receive::pooled || !capabilities_.multishot_receive) {
        return false;
    }
    if (multishot) {
        if (op.watching) {
            return false;
        }
        op.large_packets = bytes >= large ? static_cast<std::uint8_t>(op.large_packets + 1) : 0;
        if (op.large_packets >= large_patience) {
            op.large_packets = 0;
            op.small_reads = 0;
            op.watching = true;
        }
        return op.watching;
    }
    op.small_reads = bytes < small ? static_cast<std::uint8_t>(op.small_reads + 1) : 0;
    if (op.small_reads >= small_patience) {
        op.small_reads = 0;
        op.watching = false;
        return true;
    }
    return false;
}

void Port::read_later(Socket& socket, Operation& op) noexcept {
    op.reads_next = true;
    later(socket);
}

void Port::later(Socket& socket) noexcept {
    if (socket.drain_listed) {
        return;
    }
    socket.drain_listed = true;
    socket.next_drain = nullptr;
    (drain_last_ != nullptr ? drain_last_->next_drain : drain_first_) = &socket;
    drain_last_ = &socket;
}

// Goes on with the sockets that had more to read than one turn allows, each once, for as long as
// the turn has room: who is left keeps its place.
void Port::continue_drains() {
    const Socket* last = drain_last_;
    bool more = drain_first_ != nullptr;
    while (more && drain_first_ != nullptr && drained_bytes_ < turn_bytes) {
        Socket& socket = *drain_first_;
        more = &socket != last;
        drain_first_ = socket.next_drain;
        if (drain_first_ == nullptr) {
            drain_last_ = nullptr;
        }
        socket.next_drain = nullptr;
        socket.drain_listed = false;
        Operation* op = socket.receiving.head;
        if (op == nullptr || !op->subscription() || socket.receiving.started != 0 ||
            socket.reading_paused) {
            continue;
        }
        if (op->kind == Kind::receive_each && op->watching && op->reads_next) {
            drain(socket, *op);
        } else {
            start_subscription(socket, *op);
        }
        settle(socket);
    }
}

}  // namespace iocp
