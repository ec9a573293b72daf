#pragma once

#include <mutex>

namespace iocp {

// A thread that waits. notify() is called with the events' lock held.
class Waiter {
public:
    Waiter() = default;
    virtual ~Waiter() = default;
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    virtual void notify() noexcept = 0;
};

// A waiter's entry in one WaiterList.
struct WaitPlace {
    Waiter* waiter{nullptr};
    WaitPlace* previous{nullptr};
    WaitPlace* next{nullptr};
};

// The waiters of one event, one port or one thread's routines. WaiterList and Event need the
// events' lock (Event::mutex()). It is the last in the order of locks, is held for a few
// instructions, and is never held while a thread waits.
class WaiterList {
public:
    void add(WaitPlace& place) noexcept;
    void remove(WaitPlace& place) noexcept;
    void notify_all() noexcept;

private:
    WaitPlace* first_{nullptr};
};

// An event, which is set by the operation that was posted with it, or by the application (R25). At
// most one unfinished operation has the event, because the post of a second one would reset what
// the first has set.
class Event {
public:
    Event(bool manual_reset, bool is_set) noexcept : manual_(manual_reset), set_(is_set) {}

    // Returns the one lock of all events of this process.
    static std::mutex& mutex() noexcept;

    void set() noexcept {
        set_ = true;
        waiters.notify_all();
    }
    void reset() noexcept { set_ = false; }
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    // Ends the wait of one waiter. Without manual reset the event is reset, so that the next waiter
    // waits again.
    void pass() noexcept { set_ = manual_; }

    // Resets the event and reserves it for an operation that is being posted. Returns false if
    // another operation has the event.
    [[nodiscard]] bool reserve() noexcept {
        if (reserved_) {
            return false;
        }
        reserved_ = true;
        set_ = false;
        return true;
    }
    // Ends an operation's reservation of the event, after the operation has finished or was
    // refused.
    void release() noexcept { reserved_ = false; }
    [[nodiscard]] bool reserved() const noexcept { return reserved_; }

    WaiterList waiters;

private:
    bool manual_;
    bool set_;
    bool reserved_{false};
};

}  // namespace iocp
