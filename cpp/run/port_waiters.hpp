#pragma once

#include <atomic>
#include <mutex>

#include "core/event.hpp"

namespace iocp::run {

// The waiters of a port: threads that wait for its turns or for one of its operations. While a port
// has waiters it keeps its backend, even if it is closed, because waiters use the backend without
// the port's lock.
class PortWaiters {
public:
    // Counts the waiter before the list has it. The waiter then reads `closed`, while a thread that
    // closes the port sets `closed` and then reads the count. So at least one notices the other.
    void add(WaitPlace& place) noexcept {
        count_.fetch_add(1);
        const std::lock_guard lock(Event::mutex());
        list_.add(place);
    }
    // Removes the waiter. Returns whether no waiter is left.
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
    // Notifies every waiter except the calling one, whose place is `own`. A waiter that notified
    // itself would never sleep.
    void notify_others(WaitPlace& own) noexcept {
        const std::lock_guard lock(Event::mutex());
        list_.remove(own);
        list_.notify_all();
        list_.add(own);
    }
    // Notifies every waiter. Needs the events' lock.
    void notify_all_locked() noexcept { list_.notify_all(); }

private:
    WaiterList list_;  // guarded by the events' lock
    std::atomic<unsigned> count_{0};
};

}  // namespace iocp::run
