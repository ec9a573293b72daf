#pragma once

#include <atomic>

#include "backend/windows/completion_port.hpp"

namespace iocp {

// The wait of one request for an object of the system to be signalled: a process, an event. A
// thread of the system waits, and posts the request's packet to the port.
class ObjectWait {
public:
    // `request` and `port` must outlive the wait.
    ObjectWait(CompletionPort& port, OVERLAPPED& request) noexcept
        : port_(port), request_(request) {}
    ~ObjectWait() { stop(); }
    ObjectWait(const ObjectWait&) = delete;
    ObjectWait& operator=(const ObjectWait&) = delete;

    // Starts the wait, whose packet follows. Returns an error of Win32, after which none follows,
    // or 0.
    [[nodiscard]] DWORD start(HANDLE object) noexcept;
    // Ends the wait. Its packet still follows, and was_cancelled() is true unless the object was
    // signalled before.
    void cancel() noexcept;
    [[nodiscard]] bool was_cancelled() const noexcept { return cancelled_; }
    // Returns whether the object is signalled now: 1 or 0, or minus an error of Win32.
    [[nodiscard]] static int is_signalled(HANDLE object) noexcept;

private:
    static void CALLBACK signalled(void* self, BOOLEAN timed_out);
    void stop() noexcept;

    CompletionPort& port_;
    OVERLAPPED& request_;
    HANDLE registration_{nullptr};
    std::atomic<bool> signalled_{false};  // the packet of the object was posted
    bool cancelled_{false};               // the packet of cancel() was posted
};

}  // namespace iocp
