// Port: subscriptions that change the way they receive while they run (R13).
#include <algorithm>
#include <new>

#include "core/port.hpp"

namespace iocp {

Error Port::set_receive_strategy(Socket& socket, std::optional<Receive> strategy) {
    Operation* op = socket.receiving.tail;
    if (socket.life != Life::open || op == nullptr || op->kind != Kind::receive_each ||
        !socket.stream) {
        return Error::of(Fault::argument,
                         "no subscription stands here; receive() takes the strategy");
    }
    op->adaptive = !strategy.has_value();
    op->streak = 0;
    restart_receive(socket, *op, strategy.value_or(Receive::zero_byte));
    nudge();
    return {};
}

// What stands in the kernel is asked back, with whatever it has received; the next start receives
// the new way.
void Port::restart_receive(Socket& socket, Operation& op, Receive strategy) {
    if (op.strategy == strategy) {
        return;
    }
    op.strategy = strategy;
    op.switched = true;
    if (socket.receiving.started != 0 && socket.receiving.head == &op) {
        ask_cancel(op);
    }
}

// Whether so much of the budget is in use that nobody should post a buffer to wait in.
bool Port::tight() const noexcept {
    const std::uint64_t budget = ledger_.budget_bytes();
    const std::uint64_t used =
        ledger_.now_pages() * ledger_.page_size() + ledger_.registered_bytes();
    return budget != 0 && used >= budget / 100 * options_.adaptive.budget_percent;
}

// An adaptive subscription got a message: several in a row, each soon after the last, are a reason
// to receive the way that costs a busy socket least.
void Port::busier(Socket& socket, Operation& op) {
    const AdaptiveRule& rule = options_.adaptive;
    const std::int64_t gap = std::int64_t{milliseconds() - socket.active_ms} * 1'000'000;
    op.streak = gap <= rule.window ? static_cast<std::uint8_t>(std::min(op.streak + 1, 255)) : 1;
    if (op.strategy != Receive::zero_byte || op.streak < rule.messages || tight()) {
        return;
    }
    const Receive way = rule.busy.value_or(capabilities_.busy);
    if (way == Receive::zero_byte) {
        return;
    }
    try {
        busy_.push_back(op.id);
    } catch (const std::bad_alloc&) {
        return;  // the next message is as good a reason
    }
    ++counts_.switches;
    restart_receive(socket, op, way);
    if (cooling_ == nullptr) {
        cooling_ = arm(rule.idle / 2, TimerKind::cooling, nullptr);
    }
}

// Who has been quiet for long enough, or everybody when the budget is tight, waits without memory.
void Port::cool_down() {
    const AdaptiveRule& rule = options_.adaptive;
    turn_time_ = backend_->now();
    const bool all = tight();
    std::erase_if(busy_, [&](SlotId id) {
        Operation* op = operations_.find(id);
        if (op == nullptr || op->finished() || !op->adaptive ||
            op->strategy == Receive::zero_byte) {
            return true;
        }
        Socket& socket = *op->socket;
        const std::int64_t quiet = std::int64_t{milliseconds() - socket.active_ms} * 1'000'000;
        if (!all && quiet < rule.idle) {
            return false;
        }
        op->streak = 0;
        ++counts_.switches;
        restart_receive(socket, *op, Receive::zero_byte);
        return true;
    });
    if (!busy_.empty()) {
        cooling_ = arm(rule.idle / 2, TimerKind::cooling, nullptr);
    }
}

}  // namespace iocp
