#include "backend/windows/readiness_waits.hpp"

#include <new>

#include "backend/windows/winsock_error.hpp"

namespace iocp {

namespace {

constexpr ULONG poll_code = 0x0001'2024;

// The events of AFD.
constexpr ULONG data_came = 0x0001;
constexpr ULONG has_room = 0x0004;
constexpr ULONG peer_ended = 0x0008;
constexpr ULONG was_reset = 0x0010;
constexpr ULONG closed_here = 0x0020;
constexpr ULONG connection_came = 0x0080;
constexpr ULONG connect_failed = 0x0100;

// The events that end each wait: its own, and those after which its own can never come.
constexpr ULONG final_events = was_reset | closed_here | connect_failed;
constexpr ULONG room_events = has_room | final_events;
constexpr ULONG read_events = data_came | peer_ended | connection_came | final_events;

// Returns the system's own socket below any layered providers (SIO_BASE_HANDLE).
SOCKET base_of(SOCKET socket) noexcept {
    SOCKET base = INVALID_SOCKET;
    DWORD length = 0;
    return ::WSAIoctl(socket, SIO_BASE_HANDLE, nullptr, 0, &base, sizeof base, &length, nullptr,
                      nullptr) == 0
               ? base
               : socket;
}

}  // namespace

ReadinessWaits::~ReadinessWaits() {
    if (afd_ != INVALID_HANDLE_VALUE) {
        (void)::CloseHandle(afd_);
    }
}

int ReadinessWaits::open() noexcept {
    if (afd_ != INVALID_HANDLE_VALUE) {
        return 0;
    }
    // The last part of the name is arbitrary and only distinguishes handles.
    wchar_t text[] = L"\\Device\\Afd\\iocp_sock";
    UNICODE_STRING name{};
    name.Buffer = text;
    name.Length = sizeof text - sizeof text[0];
    name.MaximumLength = name.Length;
    OBJECT_ATTRIBUTES attributes{};
    attributes.Length = sizeof attributes;
    attributes.ObjectName = &name;
    IO_STATUS_BLOCK status{};
    HANDLE made = nullptr;
    const NTSTATUS opened =
        ::NtCreateFile(&made, SYNCHRONIZE, &attributes, &status, nullptr, 0,
                       FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN, 0, nullptr, 0);
    if (opened != 0) {
        return winsock_code(::RtlNtStatusToDosError(opened));
    }
    if (::CreateIoCompletionPort(made, port_.handle(), CompletionPort::readiness_key, 0) ==
        nullptr) {
        const int code = winsock_code(::GetLastError());
        (void)::CloseHandle(made);
        return code;
    }
    afd_ = made;
    return 0;
}

int ReadinessWaits::start(SOCKET socket, bool for_room, Request& request) noexcept {
    request.poll.reset(new (std::nothrow) AfdPoll{});
    if (request.poll == nullptr) {
        return WSA_NOT_ENOUGH_MEMORY;
    }
    AfdPoll& poll = *request.poll;
    poll.timeout.QuadPart = INT64_MAX;
    poll.count = 1;
    poll.socket = reinterpret_cast<HANDLE>(base_of(socket));
    poll.events = for_room ? room_events : read_events;
    auto& overlapped = request.overlapped;
    overlapped.Internal = static_cast<ULONG_PTR>(STATUS_PENDING);
    const NTSTATUS status = winsock_.control(afd_, nullptr, nullptr, &overlapped,
                                             reinterpret_cast<IO_STATUS_BLOCK*>(&overlapped),
                                             poll_code, &poll, sizeof poll, &poll, sizeof poll);
    return status < 0 ? winsock_code(::RtlNtStatusToDosError(status)) : 0;
}

void ReadinessWaits::cancel(Request& request) const noexcept {
    (void)winsock_.cancel(afd_, &request.overlapped);
}

int ReadinessWaits::failure_of(const Request& request) noexcept {
    const auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    if (status < 0) {
        return winsock_code(::RtlNtStatusToDosError(status));
    }
    return (request.poll->events & closed_here) != 0 ? WSAENOTSOCK : 0;
}

}  // namespace iocp
