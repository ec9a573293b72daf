// Port: what is let through to the kernel, and what waits before it: the budget of locked memory,
// the caps, and the system's own refusals (R06, R07, R08).
#include <new>

#include "core/page_span.hpp"
#include "core/port.hpp"

namespace iocp {

namespace {

constexpr std::int64_t refusal_pause = 100'000'000;  // at most, until what was refused is tried

ChargeKind charge_kind(const Operation& op) noexcept {
    return op.sending() ? ChargeKind::send : ChargeKind::receive;
}

}  // namespace

std::size_t Port::pages_of(const Operation& op) const noexcept {
    if (op.kind != Kind::receive && op.kind != Kind::send && op.kind != Kind::receive_each) {
        return 0;
    }
    if (op.kind == Kind::send && (op.watching || op.from_file)) {
        return 0;  // the system never holds memory of it
    }
    std::size_t pages = 0;
    op.each_part([&](const std::byte* data, std::size_t length) {
        if (registered_.empty() || !inside_registered(data, length)) {
            pages += page_span(reinterpret_cast<std::uintptr_t>(data), length, ledger_.page_size());
        }
        return true;
    });
    return pages;
}

bool Port::capped(const Operation& op) const noexcept {
    return op.sending() ? (options_.port_sends | options_.socket_sends) != 0
                        : (options_.port_receives | options_.socket_receives) != 0;
}

bool Port::admissible(const Operation& op, std::size_t pages) const noexcept {
    const bool sending = op.sending();
    const std::uint32_t port_cap = sending ? options_.port_sends : options_.port_receives;
    const std::uint32_t socket_cap = sending ? options_.socket_sends : options_.socket_receives;
    if (port_cap != 0 && unfinished_[sending ? 1 : 0] >= port_cap) {
        return false;
    }
    if (socket_cap != 0 && admitted_[op.socket->id.slot][sending ? 1 : 0] >= socket_cap) {
        return false;
    }
    return ledger_.fits(pages);
}

void Port::admit(Operation& op, std::size_t pages) noexcept {
    op.receipt = ledger_.charge(charge_kind(op), static_cast<std::uint32_t>(pages),
                                op.socket->charged_pages);
    op.admitted = true;
    ++unfinished_[op.sending() ? 1 : 0];
    if (caps_sockets()) {
        ++admitted_[op.socket->id.slot][op.sending() ? 1 : 0];
    }
    const State state = op.state.load(std::memory_order_relaxed);
    tally_.charge(state, op.receipt.pages());
    if (state != State::idle) {
        note(op, Stage::charged);
    }
}

void Port::refund(Operation& op) noexcept {
    if (const std::uint32_t pages = op.receipt.pages(); pages != 0) {
        tally_.refund(op.state.load(std::memory_order_relaxed), pages);
        op.receipt.refund();
        note(op, Stage::refunded);
    }
}

void Port::leave(Operation& op) noexcept {
    refund(op);
    if (op.admitted) {
        op.admitted = false;
        --unfinished_[op.sending() ? 1 : 0];
        if (caps_sockets()) {
            --admitted_[op.socket->id.slot][op.sending() ? 1 : 0];
        }
    }
}

// Admits the operation, holds it back, or refuses it. Bytes of a stream that the attempt already
// took are never followed by a refusal: the rest waits in the budget queue instead.
Error Port::charge(Operation& op) {
    const std::size_t pages = pages_of(op);
    if (!ledger_.could_fit(pages) && op.transferred == 0) {
        ++counts_.refusals;
        return Error::of(Fault::budget,
                         "one post alone passes the port's budget of locked memory; post less at "
                         "a time or raise the budget");
    }
    const bool needs_nothing = pages == 0 && !capped(op);  // so it takes no one's place
    if ((held_.empty() || needs_nothing) && admissible(op, pages)) {
        admit(op, pages);
        return {};
    }
    if (op.transferred == 0) {
        if (options_.over_budget == OverBudget::degrade && op.kind == Kind::receive &&
            !ledger_.fits(pages)) {
            op.watching = true;
            return {};
        }
        const Lane& lane = op.socket->lane_of(op);
        const bool behind_held = lane.head != nullptr && lane.head->held;
        if (options_.over_budget != OverBudget::queue || outstanding_ == 0) {
            // What is admitted behind a held operation would keep the very room it waits for.
            if (!behind_held && admissible(op, pages)) {
                admit(op, pages);
                return {};
            }
            ++counts_.refusals;
            return Error::of(Fault::budget,
                             "the port's budget or cap on unfinished operations is used up; retry "
                             "after a completion, or set over_budget to 'queue'");
        }
    }
    return hold(op);
}

// Puts the operation into the budget queue. Where there is no memory for its place, what an attempt
// took a part of goes on without locked memory: it can be refused no more.
Error Port::hold(Operation& op) {
    try {
        held_.push_back({op.id, backend_->now()});
    } catch (const std::bad_alloc&) {
        if (op.transferred == 0) {
            return Error::of(Fault::resource, "no memory for a place in the budget queue");
        }
        op.watching = true;
        return {};
    }
    op.held = true;
    ++budget_queue_;
    if (patience_ == nullptr) {
        patience_ = arm(options_.queue_patience, TimerKind::patience, nullptr);
    }
    return {};
}

// First come, first served: an operation that still does not fit keeps its place.
void Port::admit_held() {
    while (!held_.empty()) {
        Operation* op = operations_.find(held_.front().id);
        if (op == nullptr || !op->held || op->finished()) {
            held_.pop_front();
            continue;
        }
        const std::size_t pages = pages_of(*op);
        if (!admissible(*op, pages)) {
            return;
        }
        held_.pop_front();
        op->held = false;
        --budget_queue_;
        admit(*op, pages);
        Socket& socket = *op->socket;
        start_lane(socket, socket.lane_of(*op));
    }
}

// What stands in the budget queue for longer than the queue's patience moves on without the memory
// it waits for: a receive waits without its buffer, and where a send is in front, receives that
// wait in the kernel give their pages back.
void Port::ease_queue() {
    const std::int64_t now = backend_->now();
    const std::int64_t due = now - options_.queue_patience;
    for (const Held& held : held_) {
        Operation* op = held.since <= due ? operations_.find(held.id) : nullptr;
        if (op == nullptr || !op->held || op->finished() || op->kind != Kind::receive ||
            ledger_.fits(pages_of(*op))) {
            continue;
        }
        op->held = false;
        --budget_queue_;
        op->watching = true;
        ++counts_.degraded;
        start_lane(*op->socket, op->socket->receiving);
    }
    admit_held();
    if (held_.empty()) {
        return;
    }
    if (held_.front().since <= due) {
        reclaim(pages_of(*operations_.find(held_.front().id)));
    }
    const std::int64_t next = held_.front().since + options_.queue_patience - now;
    patience_ = arm(next > 0 ? next : options_.queue_patience, TimerKind::patience, nullptr);
}

// Asks receives for at least `pages` back: those behind others of their socket give them at once,
// those of receives that wait in the kernel come with the answers.
void Port::reclaim(std::size_t pages) {
    std::size_t asked = 0;
    operations_.each([&](Operation& op) {
        if (asked >= pages || op.receipt.pages() == 0 || op.sending() || op.cancel_requested ||
            op.finished()) {
            return;
        }
        const Lane& lane = op.socket->receiving;
        if (lane.head == &op && lane.started == 0) {
            return;  // paused
        }
        asked += op.receipt.pages();
        if (lane.head != &op) {
            yield(op);
        } else if (!op.yields) {
            op.yields = true;
            ask_cancel(op);
        }
    });
}

// The request of a receive that was asked to yield is over: from here on it waits without memory.
void Port::yield(Operation& op) noexcept {
    op.yields = false;
    refund(op);
    op.watching = true;
    ++counts_.degraded;
}

// Under the policy `queue` a refusal of the system is no failure while something is outstanding
// whose end may free what it lacks.
bool Port::waits_for_resources(int code) const noexcept {
    return options_.over_budget == OverBudget::queue && backend_->exhausted(code) &&
           outstanding_ > starved_.size();
}

// Tried again after the next completion, or after a while if there is none. False: there is no
// memory to remember it.
bool Port::starve(Operation& op) {
    if (starvation_ == nullptr) {
        starvation_ = arm(refusal_pause, TimerKind::starved, nullptr);
    }
    try {
        starved_.push_back(op.id);
    } catch (const std::bad_alloc&) {
        return false;
    }
    op.paused = true;
    ++counts_.refusals;
    return true;
}

void Port::feed_starved() {
    feeds_ = false;
    disarm(starvation_);
    for (const SlotId id : std::exchange(starved_, {})) {
        Operation* op = operations_.find(id);
        if (op != nullptr && op->paused && !op->finished()) {
            op->paused = false;
            start_lane(*op->socket, op->socket->lane_of(*op));
        }
    }
}

}  // namespace iocp
