#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.hpp"
#include "base/error.hpp"
#include "core/timer.hpp"

namespace iocp {

inline constexpr Error no_timer = Error::of(Fault::resource, "no memory for a timer");

// The timers of one port, by the backend's clock.
class Timers {
public:
    explicit Timers(const Clock& clock) noexcept : clock_(clock) {}

    // Arms a timer of the core. Null without memory.
    [[nodiscard]] Timer* arm(std::int64_t delay, TimerKind kind, void* target) noexcept {
        const std::int64_t base = clock_.now();
        const std::int64_t limit = INT64_MAX - base;
        return heap_.add(base + (delay < limit ? delay : limit), kind, target);
    }
    void disarm(Timer*& timer) noexcept {
        if (timer != nullptr) {
            heap_.remove(timer);
            timer = nullptr;
        }
    }
    // Reserves memory for the next `count` timers. Returns false without memory.
    [[nodiscard]] bool reserve(std::size_t count) noexcept { return heap_.reserve(count); }

    // Makes a timer of the application. Null without memory.
    [[nodiscard]] Timer* call_at(std::int64_t when, void* user) noexcept {
        Timer* timer = heap_.add(when, TimerKind::call, user);
        calls_ += timer != nullptr ? 1 : 0;
        return timer;
    }
    // Cancels the timer. Returns true if the timer was deleted. False means that it has fired, and
    // will be handed out without a target.
    bool cancel_call(Timer& timer) noexcept {
        if (TimerHeap::fired(timer)) {
            timer.target = nullptr;
            return false;
        }
        heap_.remove(&timer);
        --calls_;
        return true;
    }
    // Takes a due timer of the application, which is handed out and then deleted.
    Timer& take_call(Timer& timer) noexcept {
        --calls_;
        return *heap_.take(&timer);
    }
    [[nodiscard]] std::size_t calls() const noexcept { return calls_; }

    // Returns the first timer that is due at `now`, or null.
    [[nodiscard]] Timer* due(std::int64_t now) const noexcept {
        return !heap_.empty() && heap_.first()->when <= now ? heap_.first() : nullptr;
    }
    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    // Returns when the next wait must end: at the first timer, but no later than `deadline`.
    // Negative means never.
    [[nodiscard]] std::int64_t next(std::int64_t deadline) const noexcept {
        if (heap_.empty() || (deadline >= 0 && deadline <= heap_.first()->when)) {
            return deadline;
        }
        return heap_.first()->when;
    }

    // Reads the clock once for the turn, so that steps need not read it for every message.
    void begin_turn() noexcept { turn_time_ = clock_.now(); }
    // Returns the time of the turn in milliseconds, modulo 2^32: the form that sockets store.
    [[nodiscard]] std::uint32_t milliseconds() const noexcept {
        return static_cast<std::uint32_t>(turn_time_ / 1'000'000);
    }
    [[nodiscard]] std::int64_t now() const noexcept { return clock_.now(); }

private:
    const Clock& clock_;
    TimerHeap heap_;
    std::size_t calls_{0};       // timers of the application in the heap
    std::int64_t turn_time_{0};  // when the turn began, or its wait ended
};

}  // namespace iocp
