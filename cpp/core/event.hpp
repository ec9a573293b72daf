#pragma once

#include <mutex>

namespace iocp {

// A thread that waits. It is notified with the events' lock held.
class Waiter {
public:
    Waiter() = default;
    virtual ~Waiter() = default;
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    virtual void notify() noexcept = 0;
};

// The place of a waiter in the list of one object that it waits for.
struct WaitPlace {
    Waiter* waiter{nullptr};
    WaitPlace* previous{nullptr};
    WaitPlace* next{nullptr};
};

// The waiters of one object. Everything from here on needs the events' lock. That lock is the last
// in the order of locks, held for a few instructions, and never held while a thread waits.
class WaiterList {
public:
    void add(WaitPlace& place) noexcept;
    void remove(WaitPlace& place) noexcept;
    void notify_all() noexcept;

private:
    WaitPlace* first_{nullptr};
};

// An event, set by the operation that was posted with it or by the application (R25). It belongs to
// at most one unfinished operation: a second post would reset what the first has set.
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
    // Lets one waiter go on. Without manual reset the event is reset, so that the next one waits
    // again.
    void pass() noexcept { set_ = manual_; }

    // Gives the event, reset, to a posted operation. Returns false if another operation has it.
    [[nodiscard]] bool reserve() noexcept {
        if (reserved_) {
            return false;
        }
        reserved_ = true;
        set_ = false;
        return true;
    }
    // Takes the event from an operation that has finished or was refused.
    void release() noexcept { reserved_ = false; }
    [[nodiscard]] bool reserved() const noexcept { return reserved_; }

    WaiterList waiters;

private:
    bool manual_;
    bool set_;
    bool reserved_{false};
};

}  // namespace iocp
