#include "core/admission.hpp"

#include <new>

#include "base/page_span.hpp"

namespace iocp {

namespace {

// Maximum pause before a refused operation is tried again, in nanoseconds.
constexpr std::int64_t refusal_pause = 100'000'000;

ChargeKind charge_kind(const Operation& op) noexcept {
    return op.sending() ? ChargeKind::send : ChargeKind::receive;
}

std::size_t index(const Operation& op) noexcept {
    return static_cast<std::size_t>(charge_kind(op));
}

}  // namespace

std::size_t Admission::pages_of(const Operation& op) const noexcept {
    if (op.kind != OperationKind::receive && op.kind != OperationKind::send &&
        op.kind != OperationKind::receive_each) {
        return 0;
    }
    if (op.kind == OperationKind::send && (op.readiness_only || op.from_file)) {
        return 0;  // a send that waits for readiness or reads a file lends no memory to the system
    }
    std::size_t pages = 0;
    op.each_part([&](const std::byte* data, std::size_t length) {
        if (!registered_.contains(data, length)) {
            pages += page_span(reinterpret_cast<std::uintptr_t>(data), length, ledger_.page_size());
        }
        return true;
    });
    return pages;
}

bool Admission::capped(const Operation& op) const noexcept {
    return op.sending() ? (options_.caps.port_sends | options_.caps.socket_sends) != 0
                        : (options_.caps.port_receives | options_.caps.socket_receives) != 0;
}

bool Admission::admissible(const Operation& op, std::size_t pages) const noexcept {
    const bool sending = op.sending();
    const std::uint32_t port_cap = sending ? options_.caps.port_sends : options_.caps.port_receives;
    const std::uint32_t socket_cap =
        sending ? options_.caps.socket_sends : options_.caps.socket_receives;
    if (port_cap != 0 && unfinished_[index(op)] >= port_cap) {
        return false;
    }
    if (socket_cap != 0 && admitted_[op.socket->id.slot][index(op)] >= socket_cap) {
        return false;
    }
    return ledger_.fits(pages);
}

void Admission::admit(Operation& op, std::size_t pages) noexcept {
    op.receipt = ledger_.charge(charge_kind(op), static_cast<std::uint32_t>(pages),
                                op.socket->charged_pages);
    op.admitted = true;
    ++unfinished_[index(op)];
    if (caps_sockets()) {
        ++admitted_[op.socket->id.slot][index(op)];
    }
    metrics_.charged(op);
}

void Admission::refund(Operation& op) noexcept {
    if (op.receipt.pages() != 0) {
        metrics_.refund(op);
    }
}

void Admission::leave(Operation& op) noexcept {
    refund(op);
    if (op.admitted) {
        op.admitted = false;
        --unfinished_[index(op)];
        if (caps_sockets()) {
            --admitted_[op.socket->id.slot][index(op)];
        }
    }
}

// Never refuses an operation whose attempt has already moved bytes of a stream. If there is no room
// for the rest of it, the rest waits in the budget queue. A muted send is never refused either:
// over the budget it waits for room without lending its memory.
Error Admission::charge(Operation& op, bool others) {
    std::size_t pages = pages_of(op);
    if (op.muted && !ledger_.fits(pages)) {
        op.readiness_only = true;
        op.direct = false;
        pages = 0;
        ++metrics_.counts.degraded;
    }
    if (!ledger_.could_fit(pages) && op.transferred == 0) {
        ++metrics_.counts.refusals;
        return Error::of(Fault::budget,
                         "this post alone needs more than the port's budget of locked memory; post "
                         "less at a time, or raise the budget");
    }
    // An operation that needs no page and is under no cap takes no room from one in the budget
    // queue.
    const bool needs_nothing = pages == 0 && !capped(op);
    if ((held_.empty() || needs_nothing) && admissible(op, pages)) {
        admit(op, pages);
        return {};
    }
    if (op.transferred == 0 && !op.muted) {
        if (options_.over_budget == OverBudget::degrade && op.kind == OperationKind::receive &&
            !ledger_.fits(pages)) {
            op.readiness_only = true;
            return {};
        }
        const Lane& lane = op.socket->lane_of(op);
        const bool behind_held = lane.head != nullptr && lane.head->held;
        if (options_.over_budget != OverBudget::queue || !others) {
            // An operation behind a held one of its lane is not admitted. It would occupy the room
            // that the held operation waits for, and could not start before it.
            if (!behind_held && admissible(op, pages)) {
                admit(op, pages);
                return {};
            }
            ++metrics_.counts.refusals;
            return Error::of(Fault::budget,
                             "the port's budget or cap on unfinished operations is used up; retry "
                             "after a completion, or set over_budget to 'queue'");
        }
    }
    return hold(op);
}

bool Admission::charge_block(Operation& op) noexcept {
    const std::size_t pages = pages_of(op);
    if (!held_.empty() || !admissible(op, pages) || (op.adaptive && tight())) {
        ++metrics_.counts.refusals;
        return false;
    }
    admit(op, pages);
    return true;
}

// Puts the operation into the budget queue. Without memory for a place there, an operation that has
// moved bytes becomes a readiness wait, because it can no longer be refused.
Error Admission::hold(Operation& op) noexcept {
    try {
        held_.push_back({op.id, timers_.now()});
    } catch (const std::bad_alloc&) {
        if (op.transferred == 0) {
            return Error::of(Fault::resource, "no memory for a place in the budget queue");
        }
        op.readiness_only = true;
        return {};
    }
    op.held = true;
    ++held_operations_;
    if (patience_ == nullptr) {
        patience_ = timers_.arm(options_.queue_patience, TimerKind::patience, nullptr);
    }
    return {};
}

Operation* Admission::held_operation(SlotId id) noexcept {
    Operation* op = operations_.find(id);
    return op != nullptr && op->held && !op->finished() ? op : nullptr;
}

// Admits in posting order: while the first operation does not fit, no later one is admitted.
Operation* Admission::admit_next() noexcept {
    while (!held_.empty()) {
        Operation* op = held_operation(held_.front().id);
        if (op == nullptr) {
            held_.pop_front();
            continue;
        }
        const std::size_t pages = pages_of(*op);
        if (!admissible(*op, pages)) {
            return nullptr;
        }
        held_.pop_front();
        unhold(*op);
        admit(*op, pages);
        return op;
    }
    return nullptr;
}

std::int64_t Admission::lose_patience() noexcept {
    timers_.disarm(patience_);
    const std::int64_t due = timers_.now() - options_.queue_patience;
    for (const Held& held : held_) {
        Operation* op = held.since <= due ? held_operation(held.id) : nullptr;
        if (op == nullptr || op->kind != OperationKind::receive || ledger_.fits(pages_of(*op))) {
            continue;
        }
        unhold(*op);
        op->readiness_only = true;
        ++metrics_.counts.degraded;
        work_.add(*op->socket, effect::start_receiving);
    }
    return due;
}

void Admission::reclaim_late(std::int64_t due) noexcept {
    if (held_.empty()) {
        return;
    }
    const Held& first = held_.front();
    if (first.since <= due) {
        reclaim(pages_of(*operations_.find(first.id)));
    }
    const std::int64_t next = first.since - due;
    patience_ =
        timers_.arm(next > 0 ? next : options_.queue_patience, TimerKind::patience, nullptr);
}

// Reclaims at least `pages` pages from receives, as far as there are any. A receive that waits
// behind others of its socket gives its pages back at once. A receive in the kernel is cancelled,
// and gives them back when its request ends.
void Admission::reclaim(std::size_t pages) noexcept {
    std::size_t asked = 0;
    operations_.each([&](Operation& op) {
        if (asked >= pages || op.receipt.pages() == 0 || op.sending() || op.cancel_requested ||
            op.finished()) {
            return;
        }
        const Lane& lane = op.socket->receiving;
        if (lane.head == &op && lane.started == 0) {
            return;  // paused: the kernel has no request of it
        }
        asked += op.receipt.pages();
        if (lane.head != &op) {
            yield(op);
        } else if (!op.yields) {
            op.yields = true;
            calls_.cancel(op);
        }
    });
}

void Admission::yield(Operation& op) noexcept {
    op.yields = false;
    refund(op);
    op.readiness_only = true;
    ++metrics_.counts.degraded;
}

// Under the policy `queue` the core retries an operation that the system refused for lack of a
// resource. It does so only while another operation is outstanding, because the end of that one may
// free the resource.
bool Admission::waits_for_resources(int code, std::size_t outstanding) const noexcept {
    return options_.over_budget == OverBudget::queue && errors_.exhausted(code) &&
           outstanding > starved_.size();
}

bool Admission::starve(Operation& op) noexcept {
    if (starvation_ == nullptr) {
        starvation_ = timers_.arm(refusal_pause, TimerKind::starved, nullptr);
    }
    try {
        starved_.push_back(op.id);
    } catch (const std::bad_alloc&) {
        return false;
    }
    op.paused = true;
    ++metrics_.counts.refusals;
    return true;
}

void Admission::feed_starved() noexcept {
    feeds_ = false;
    timers_.disarm(starvation_);
    for (const SlotId id : std::exchange(starved_, {})) {
        Operation* op = operations_.find(id);
        if (op != nullptr && op->paused && !op->finished()) {
            op->paused = false;
            work_.add(*op->socket, effect::start(*op->socket, op->socket->lane_of(*op)));
        }
    }
}

bool Admission::tight() const noexcept {
    const std::uint64_t budget = ledger_.budget_bytes();
    const std::uint64_t used =
        ledger_.now_pages() * ledger_.page_size() + ledger_.registered_bytes();
    return budget != 0 && used >= budget / 100 * options_.adaptive.budget_percent;
}

}  // namespace iocp
