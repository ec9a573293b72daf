#pragma once

#include <atomic>
#include <mutex>

#include "core/event.hpp"

namespace iocp::run {

// The waiters of a port: threads that wait for its turns or for one of its operations. While there
// is one, a closed port keeps its backend, which a waiter uses without the port's lock.
class PortWaiters {
public:
    // Counts the waiter before the list shows it. So a thread that closes the port either sees the
    // waiter, or is seen by it.
    void add(WaitPlace& place) noexcept {
        count_.fetch_add(1);
        const std::lock_guard lock(Event::mutex());
        list_.add(place);
    }
    // Returns whether no waiter is left.
    bool remove(WaitPlace& place) noexcept {
        {
            const std::lock_guard lock(Event::mutex());
            list_.remove(place);
        }
        return count_.fetch_sub(1) == 1;
    }
    [[nodiscard]] bool any() const noexcept { return count_.load() != 0; }

    void notify_all() noexcept {
        if (any()) {
            const std::lock_guard lock(Event::mutex());
            list_.notify_all();
        }
    }
    // Notifies every waiter but the caller, whose own place this is: a waiter that woke itself
    // would never sleep.
    void notify_others(WaitPlace& own) noexcept {
        const std::lock_guard lock(Event::mutex());
        list_.remove(own);
        list_.notify_all();
        list_.add(own);
    }
    // Notifies every waiter. Needs the events' lock.
    void notify_all_locked() noexcept { list_.notify_all(); }

private:
    WaiterList list_;  // the events' lock guards it
    std::atomic<unsigned> count_{0};
};

}  // namespace iocp::run
