// The members of Subscriptions that choose how a subscription receives, and that change it with the
// traffic (R13).
#include <algorithm>
#include <new>

#include "core/subscriptions.hpp"

namespace iocp {

namespace {

// Small messages are received best by a multishot receive. Messages of at least `large` bytes are
// received best by a read, because its memory may still be in the CPU's cache. A pooled
// subscription changes after `large_patience` large or `small_patience` small messages in a row.
constexpr std::size_t large = std::size_t{8} << 10U;
constexpr std::size_t small = std::size_t{4} << 10U;
constexpr std::uint8_t large_patience = 2;
constexpr std::uint8_t small_patience = 32;

}  // namespace

// Changes between a multishot receive, best for small messages, and a readiness wait with reads,
// best for large ones. Affects only pooled subscriptions of a backend that has both. Returns
// whether the subscription changed.
bool Subscriptions::adapt(Operation& op, std::size_t bytes, bool multishot) const noexcept {
    if (op.strategy != ReceiveStrategy::pooled || !capabilities_.multishot_receive) {
        return false;
    }
    if (multishot) {
        if (op.readiness_only) {
            return false;
        }
        op.large_packets = bytes >= large ? static_cast<std::uint8_t>(op.large_packets + 1) : 0;
        if (op.large_packets >= large_patience) {
            op.large_packets = 0;
            op.small_reads = 0;
            op.readiness_only = true;
        }
        return op.readiness_only;
    }
    op.small_reads = bytes < small ? static_cast<std::uint8_t>(op.small_reads + 1) : 0;
    if (op.small_reads >= small_patience) {
        op.small_reads = 0;
        op.readiness_only = false;
        return true;
    }
    return false;
}

Error Subscriptions::set_strategy(Socket& socket,
                                  std::optional<ReceiveStrategy> strategy) noexcept {
    Operation* op = socket.receiving.tail;
    if (socket.state != SocketState::open || op == nullptr ||
        op->kind != OperationKind::receive_each || !socket.stream) {
        return Error::of(
            Fault::argument,
            "this socket has no receive() subscription; start one with receive(receive=...)");
    }
    op->adaptive = !strategy.has_value();
    op->streak = 0;
    restart(socket, *op, strategy.value_or(ReceiveStrategy::zero_byte));
    return {};
}

// Changes the strategy: cancels the request in the kernel, and the next start uses the new
// strategy. Data that the request has received is still delivered.
void Subscriptions::restart(Socket& socket, Operation& op, ReceiveStrategy strategy) noexcept {
    if (op.strategy == strategy) {
        return;
    }
    op.strategy = strategy;
    op.switched = true;
    if (socket.receiving.started != 0 && socket.receiving.head == &op) {
        calls_.cancel(op);
    }
}

// Notes a message of an adaptive subscription. Several messages in quick succession change the
// subscription to the strategy that is cheapest for a busy socket.
void Subscriptions::note_busy(Socket& socket, Operation& op) noexcept {
    const AdaptiveRule& rule = options_.adaptive;
    const std::int64_t gap = std::int64_t{timers_.milliseconds() - socket.active_ms} * 1'000'000;
    op.streak = gap <= rule.window ? static_cast<std::uint8_t>(std::min(op.streak + 1, 255)) : 1;
    if (op.strategy != ReceiveStrategy::zero_byte || op.streak < rule.messages ||
        admission_.tight()) {
        return;
    }
    const ReceiveStrategy way = rule.busy.value_or(capabilities_.busy);
    if (way == ReceiveStrategy::zero_byte) {
        return;
    }
    try {
        busy_.push_back(op.id);
    } catch (const std::bad_alloc&) {
        return;  // the next message will try again
    }
    ++metrics_.counts.switches;
    restart(socket, op, way);
    if (cooling_ == nullptr) {
        cooling_ = timers_.arm(rule.idle / 2, TimerKind::cooling, nullptr);
    }
}

void Subscriptions::cool_down() noexcept {
    const AdaptiveRule& rule = options_.adaptive;
    timers_.disarm(cooling_);
    timers_.begin_turn();
    const bool all = admission_.tight();
    std::erase_if(busy_, [&](SlotId id) {
        Operation* op = operations_.find(id);
        if (op == nullptr || op->finished() || !op->adaptive ||
            op->strategy == ReceiveStrategy::zero_byte) {
            return true;
        }
        Socket& socket = *op->socket;
        const std::int64_t quiet =
            std::int64_t{timers_.milliseconds() - socket.active_ms} * 1'000'000;
        if (!all && quiet < rule.idle) {
            return false;
        }
        op->streak = 0;
        ++metrics_.counts.switches;
        restart(socket, *op, ReceiveStrategy::zero_byte);
        return true;
    });
    if (!busy_.empty()) {
        cooling_ = timers_.arm(rule.idle / 2, TimerKind::cooling, nullptr);
    }
}

}  // namespace iocp
