#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/error.hpp"
#include "ops/operation.hpp"

namespace iocp {

// The kinds of events in an operation's trace. Every change of its state is an event, and so is
// every change of its charge after the post.
enum class Stage : std::uint8_t {
    posted,     // accepted; `bytes` is its length, `charged` its charge
    queued,     // held by the core
    pending,    // with the kernel
    cancelled,  // its cancel was requested
    charged,    // charged after the post: admitted late, or a subscription's next buffer
    refunded,
    yielded,  // a subscription produced a result of `bytes` bytes
    completed,
    dispatched,  // its completion was handed out
};
inline constexpr std::size_t stages = 9;

// Returns the stage that records a write of `state`.
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
    std::uint64_t bytes;    // transferred so far, unless the stage says otherwise
    std::uint32_t charged;  // pages charged to the operation
    std::uint32_t ledger;   // pages charged in the whole port
    std::int32_t handle;
    std::int32_t code;  // of the error, once the operation has ended
    Stage stage;
    OperationKind kind;
    Fault fault;
    Outcome outcome;
    std::uint32_t unused;
};
static_assert(std::is_trivially_copyable_v<TraceEvent> && sizeof(TraceEvent) == 56);

// A ring buffer of the latest events. It allocates all its memory when it is made.
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
    // Returns the number of events that newer ones have overwritten.
    [[nodiscard]] std::uint64_t dropped() const noexcept { return recorded_ - size(); }

    // Calls visit(events, count) for each run of the events, oldest first.
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
