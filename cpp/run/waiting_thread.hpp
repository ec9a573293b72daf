#pragma once

#include <cstdint>

#include "backend/backend.hpp"
#include "base/parker.hpp"
#include "core/event.hpp"
#include "run/host.hpp"

namespace iocp::run {

// The maximum time between two checks for the program's signals, in nanoseconds.
inline constexpr std::int64_t between_signals = 1'000'000'000;

// A thread that waits, as the events and ports that it waits for see it. It sleeps in its parker,
// or in the backend of a port whose turn it makes.
class WaitingThread final : public Waiter {
public:
    // Wakes the thread where it sleeps. The events' lock is held.
    void notify() noexcept override;

    // Forgets earlier notifications, so that only later ones end the next sleep. The thread must
    // call this before it checks what it waits for.
    void rearm() noexcept;
    // Sleeps until a notification, a signal, or the time has passed.
    void sleep(Host& host, std::int64_t nanoseconds);

private:
    friend class WaitingTurn;

    // The events' lock guards everything but the sleep in the parker.
    bool notified_{false};
    TurnBackend* turning_{nullptr};  // the backend in which the thread may sleep
    Parker parker_;
};

// Marks that a waiting thread makes a turn, until the scope ends. Notifications then wake the
// thread in the backend.
class WaitingTurn {
public:
    WaitingTurn(WaitingThread& thread, TurnBackend& backend) noexcept;
    ~WaitingTurn();
    WaitingTurn(const WaitingTurn&) = delete;
    WaitingTurn& operator=(const WaitingTurn&) = delete;

    // Returns whether the turn may wait. It may not if the thread was notified before the turn.
    [[nodiscard]] bool may_wait() const noexcept { return may_wait_; }

private:
    WaitingThread& thread_;
    bool may_wait_;
};

}  // namespace iocp::run
