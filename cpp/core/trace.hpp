#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/error.hpp"
#include "core/operation.hpp"

namespace iocp {

// What happened to an operation. Every write of its state is one of these, and so is every change
// of its charge after the post.
enum class Stage : std::uint8_t {
    posted,     // accepted; `bytes` is what it is for, `charged` what it was charged
    queued,     // held by the core
    pending,    // the kernel's
    cancelled,  // its cancel was asked for
    charged,    // held back by the budget until now, or a subscription's next block
    refunded,
    yielded,  // a subscription gave a result of `bytes`
    completed,
    dispatched,  // its completion was handed out
};
inline constexpr std::size_t stages = 9;

// What a write of that state is recorded as.
constexpr Stage stage_of(State state) noexcept {
    return state == State::queued       ? Stage::queued
           : state == State::pending    ? Stage::pending
           : state == State::cancelling ? Stage::cancelled
                                        : Stage::completed;
}

struct TraceEvent {
    std::int64_t time;  // nanoseconds of the backend's clock
    std::uint64_t operation;
    std::uint64_t socket;
    std::uint64_t bytes;    // transferred so far, where the stage does not say otherwise
    std::uint32_t charged;  // pages of the operation
    std::uint32_t ledger;   // pages of the whole port
    std::int32_t handle;
    std::int32_t code;  // of the error, from `completed` on
    Stage stage;
    Kind kind;
    Fault fault;
    Outcome outcome;
    std::uint32_t unused;
};
static_assert(std::is_trivially_copyable_v<TraceEvent> && sizeof(TraceEvent) == 56);

// A ring of the last events, in memory that is all taken when it is made.
class Trace {
public:
    explicit Trace(std::size_t capacity) : events_(capacity) {}

    void add(const TraceEvent& event) noexcept {
        events_[next_] = event;
        next_ = next_ + 1 == events_.size() ? 0 : next_ + 1;
        ++recorded_;
    }

    [[nodiscard]] std::size_t size() const noexcept {
        return recorded_ < events_.size() ? static_cast<std::size_t>(recorded_) : events_.size();
    }
    // Events that newer ones have overwritten.
    [[nodiscard]] std::uint64_t dropped() const noexcept { return recorded_ - size(); }

    // Calls visit(events, count) for the runs that hold the events, oldest first.
    template <class Visit>
    void each_run(Visit&& visit) const {
        if (dropped() != 0) {
            visit(events_.data() + next_, events_.size() - next_);
        }
        visit(events_.data(), dropped() != 0 ? next_ : size());
    }

private:
    std::vector<TraceEvent> events_;
    std::size_t next_{0};
    std::uint64_t recorded_{0};
};

}  // namespace iocp
