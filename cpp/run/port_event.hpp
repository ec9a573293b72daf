#pragma once

#include <utility>

#include "core/event.hpp"
#include "run/runnable_port.hpp"

namespace iocp::run {

// An event, together with the port of the operation that will set it. A thread that waits for the
// event runs that port. The members take the events' lock, except for those that say otherwise.
class PortEvent {
public:
    PortEvent(bool manual_reset, bool is_set) noexcept : event_(manual_reset, is_set) {}

    // Resets the event and reserves it for an operation that is about to be posted to `port`.
    // Returns false if an unfinished operation has the event.
    [[nodiscard]] bool reserve(RunnablePort& port) {
        PortRef before;  // destroyed after the unlock: the port's end may need the lock
        const std::lock_guard lock(Event::mutex());
        if (!event_.reserve()) {
            return false;
        }
        before = std::exchange(port_, PortRef(port));
        event_.waiters.notify_all();  // the waiters may have to run this port now
        return true;
    }
    // Ends the reservation for an operation whose post was refused.
    void refuse() {
        {
            const std::lock_guard lock(Event::mutex());
            event_.release();
        }
        forget_port();
    }
    // Forgets the port of an ended operation, unless a new operation has the event already.
    void forget_port() {
        PortRef before;
        const std::lock_guard lock(Event::mutex());
        if (!event_.reserved()) {
            before = std::move(port_);
        }
    }
    // Forgets the port, even if an operation has the event. Precondition: no thread uses the event
    // any more.
    void abandon() {
        PortRef before;
        const std::lock_guard lock(Event::mutex());
        before = std::move(port_);
    }
    // Sets the event for the operation that has it. Needs the events' lock.
    void finish_locked() noexcept {
        event_.release();
        event_.set();
    }

    void set() {
        const std::lock_guard lock(Event::mutex());
        event_.set();
    }
    void reset() {
        const std::lock_guard lock(Event::mutex());
        event_.reset();
    }
    [[nodiscard]] bool is_set() const {
        const std::lock_guard lock(Event::mutex());
        return event_.is_set();
    }
    // Ends every wait for the event.
    void close() {
        const std::lock_guard lock(Event::mutex());
        closed_ = true;
        event_.waiters.notify_all();
    }
    [[nodiscard]] bool closed() const {
        const std::lock_guard lock(Event::mutex());
        return closed_;
    }

    // Returns the port, or null. Needs the events' lock, unless no other thread can use the event.
    [[nodiscard]] RunnablePort* port() const noexcept { return port_.get(); }

private:
    friend class AwaitedEvents;

    Event event_;
    PortRef port_;  // from reserve() until the ended operation is handed over
    bool closed_{false};
};

}  // namespace iocp::run
