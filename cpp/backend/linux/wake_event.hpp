#pragma once

namespace iocp {

// The descriptor that ends a backend's wait: readable from set() until clear().
class WakeEvent {
public:
    WakeEvent() = default;
    ~WakeEvent();
    WakeEvent(const WakeEvent&) = delete;
    WakeEvent& operator=(const WakeEvent&) = delete;

    // Makes the descriptor, an eventfd. Returns an errno, or 0.
    [[nodiscard]] int open() noexcept;
    // Returns the descriptor to poll for POLLIN; -1 before open().
    [[nodiscard]] int fd() const noexcept { return fd_; }
    // Ends the present wait, or else the next one. Any thread may call it, without a lock.
    void set() noexcept;
    // Takes back every set() so far. Only the thread that waits calls clear(), before it looks for
    // work, so that a later set() ends its next wait.
    void clear() noexcept;

private:
    int fd_{-1};
};

}  // namespace iocp
