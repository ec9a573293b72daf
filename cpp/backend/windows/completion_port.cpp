#include "backend/windows/completion_port.hpp"

namespace iocp {

namespace {

// Converts nanoseconds to milliseconds, rounded up so that no wait ends early.
DWORD milliseconds(std::int64_t nanoseconds) noexcept {
    constexpr std::int64_t longest = 0x7fff'ffff;
    if (nanoseconds < 0) {
        return INFINITE;
    }
    const std::int64_t rounded = (nanoseconds + 999'999) / 1'000'000;
    return static_cast<DWORD>(rounded < longest ? rounded : longest);
}

}  // namespace

CompletionPort::~CompletionPort() {
    if (port_ != nullptr) {
        (void)::CloseHandle(port_);
    }
}

DWORD CompletionPort::open() noexcept {
    port_ = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    return port_ != nullptr ? 0 : ::GetLastError();
}

void CompletionPort::wake() noexcept {
    (void)::PostQueuedCompletionStatus(port_, 0, wake_key, nullptr);
}

bool CompletionPort::announce(OVERLAPPED& request) noexcept {
    return ::PostQueuedCompletionStatus(port_, 0, announced_key, &request) != FALSE;
}

void CompletionPort::wait(std::int64_t timeout_ns) noexcept {
    if (count_ != 0) {
        return;
    }
    ULONG count = 0;
    const BOOL good =
        ::GetQueuedCompletionStatusEx(port_, entries_.data(), static_cast<ULONG>(entries_.size()),
                                      &count, milliseconds(timeout_ns), FALSE);
    count_ = good != FALSE ? count : 0;
}

}  // namespace iocp
