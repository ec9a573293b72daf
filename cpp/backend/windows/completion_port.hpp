#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "backend/windows/winsock.hpp"

namespace iocp {

// The kernel's completion port, and the packets of its last wait. Any thread may call wake() and
// announce().
class CompletionPort {
public:
    // The completion keys of packets that belong to no socket's handle. The key of a socket's own
    // packets is its packed SlotId.
    static constexpr ULONG_PTR wake_key = ~ULONG_PTR{0};      // posted by wake()
    static constexpr ULONG_PTR readiness_key = wake_key - 1;  // from AFD, for a wait for readiness
    static constexpr ULONG_PTR announced_key = wake_key - 2;  // posted by announce()

    CompletionPort() = default;
    ~CompletionPort();
    CompletionPort(const CompletionPort&) = delete;
    CompletionPort& operator=(const CompletionPort&) = delete;

    // Makes the completion port. Returns a Win32 error, or 0.
    [[nodiscard]] DWORD open() noexcept;
    // Returns the handle of the completion port, with which sockets and devices are associated.
    [[nodiscard]] HANDLE handle() const noexcept { return port_; }

    // Ends the wait that is under way, or the next one.
    void wake() noexcept;
    // Posts a packet for the request, behind any that the system may have queued. Returns whether
    // a packet will come.
    [[nodiscard]] bool announce(OVERLAPPED& request) noexcept;
    // Waits until packets are there, timeout_ns have passed (negative: no limit), or wake() is
    // called. Returns at once while packets of the last wait are left.
    void wait(std::int64_t timeout_ns) noexcept;
    // Returns the packets of the last wait, until clear().
    [[nodiscard]] std::span<const OVERLAPPED_ENTRY> packets() const noexcept {
        return {entries_.data(), count_};
    }
    void clear() noexcept { count_ = 0; }

private:
    HANDLE port_{nullptr};
    std::array<OVERLAPPED_ENTRY, 64> entries_{};
    ULONG count_{0};  // number of packets at the front of `entries_`
};

}  // namespace iocp
