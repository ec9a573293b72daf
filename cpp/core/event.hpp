#pragma once

#include <mutex>

namespace iocp {

// A thread that waits for something. Told with the events' lock held.
class Waiter {
public:
    Waiter() = default;
    virtual ~Waiter() = default;
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    virtual void notify() noexcept = 0;
};

// Where a waiter stands in the list of something that it waits for.
struct WaitPlace {
    Waiter* waiter{nullptr};
    WaitPlace* previous{nullptr};
    WaitPlace* next{nullptr};
};

// Everything below needs the events' lock. It is the last in the order of locks, held for a few
// instructions, and never while anything is waited for.
class WaiterList {
public:
    void add(WaitPlace& place) noexcept;
    void remove(WaitPlace& place) noexcept;
    void notify_all() noexcept;

private:
    WaitPlace* first_{nullptr};
};

// Set by the operation that was posted with it, or by the application (R25). An event belongs to at
// most one unfinished operation: the next one's post would take back what the first has told.
class Event {
public:
    Event(bool manual_reset, bool is_set) noexcept : manual_(manual_reset), set_(is_set) {}

    // The one lock of all events of this process.
    static std::mutex& mutex() noexcept;

    void set() noexcept {
        set_ = true;
        waiters.notify_all();
    }
    void reset() noexcept { set_ = false; }
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    // One waiter goes on: unless reset by hand, the next one waits again.
    void pass() noexcept { set_ = manual_; }

    // Gives it, not set, to an operation that is posted. False: another one has it.
    [[nodiscard]] bool reserve() noexcept {
        if (reserved_) {
            return false;
        }
        reserved_ = true;
        set_ = false;
        return true;
    }
    // That operation has finished, or was refused.
    void release() noexcept { reserved_ = false; }
    [[nodiscard]] bool reserved() const noexcept { return reserved_; }

    WaiterList waiters;

private:
    bool manual_;
    bool set_;
    bool reserved_{false};
};

}  // namespace iocp
