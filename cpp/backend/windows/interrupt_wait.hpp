#pragma once

#include <atomic>

#include "backend/windows/completion_port.hpp"

namespace iocp {

// The registered wait for the application's interrupt event (Ctrl-C). Its callback wakes the
// completion port. The event stays set until it is reset, so the wait is registered for one
// callback only.
class InterruptWait {
public:
    explicit InterruptWait(CompletionPort& port) noexcept : port_(port) {}
    ~InterruptWait();
    InterruptWait(const InterruptWait&) = delete;
    InterruptWait& operator=(const InterruptWait&) = delete;

    // Sets the event to wait for. Without an event nothing is registered.
    void set_event(void* event) noexcept { event_ = event; }
    // Registers the wait, unless it is registered.
    void begin() noexcept {
        if (registration_ == nullptr) {
            renew();
        }
    }
    // Resets the event and registers the wait again, if the event was set. Precondition: the
    // interpreter has not checked for signals since the interrupted wait. Its next check then also
    // finds a signal that came before the reset.
    void renew() noexcept;

private:
    static void CALLBACK interrupted(void* self, BOOLEAN timed_out);

    CompletionPort& port_;
    HANDLE event_{nullptr};
    HANDLE registration_{nullptr};
    std::atomic<bool> seen_{false};  // the event was set since the wait was registered
};

}  // namespace iocp
