#pragma once

#include <cstdint>

#include "core/turn.hpp"

namespace iocp {

// The application's calls on timers. A timer that has fired is handed out as a record, and the
// thread that takes the record deletes the timer. Every member needs the port's lock.
class PortTimers {
public:
    PortTimers(Timers& timers, Turn& turn) noexcept : timers_(timers), turn_(turn) {}
    PortTimers(const PortTimers&) = delete;
    PortTimers& operator=(const PortTimers&) = delete;

    // Makes a timer that fires at `when`, by the port's clock. Null without memory.
    [[nodiscard]] Timer* call_at(std::int64_t when, void* user) noexcept {
        Timer* timer = timers_.call_at(when, user);
        turn_.conclude(timer != nullptr);
        return timer;
    }
    // Cancels the timer. Returns true if the timer was deleted. False means that it has fired, and
    // will be handed out without a target.
    bool cancel(Timer& timer) noexcept { return timers_.cancel_call(timer); }

private:
    Timers& timers_;
    Turn& turn_;
};

}  // namespace iocp
