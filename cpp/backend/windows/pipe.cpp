#include "backend/windows/pipe.hpp"

#include <algorithm>

#include "backend/windows/winsock_error.hpp"

namespace iocp {

namespace {

// FileModeInformation of the DDK, and the modes in which calls wait.
constexpr auto mode_information = static_cast<FILE_INFORMATION_CLASS>(16);
constexpr ULONG synchronous = 0x10 | 0x20;
// A set low bit of an OVERLAPPED's event keeps the packet from the port (Microsoft,
// GetQueuedCompletionStatus, remarks).
constexpr std::uintptr_t no_packet = 1;

}  // namespace

int check_pipe(HANDLE handle) noexcept {
    if (::GetFileType(handle) != FILE_TYPE_PIPE) {
        return WSAENOTSOCK;
    }
    ULONG mode = 0;
    IO_STATUS_BLOCK status{};
    const NTSTATUS asked =
        ::NtQueryInformationFile(handle, &status, &mode, sizeof mode, mode_information);
    if (asked < 0) {
        return winsock_code(::RtlNtStatusToDosError(asked));
    }
    return (mode & synchronous) == 0 ? 0 : WSAEINVAL;
}

bool ends_pipe(DWORD code) noexcept {
    return code == ERROR_BROKEN_PIPE || code == ERROR_PIPE_NOT_CONNECTED;
}

std::int64_t bytes_in(HANDLE pipe) noexcept {
    DWORD bytes = 0;
    return ::PeekNamedPipe(pipe, nullptr, 0, nullptr, &bytes, nullptr) != FALSE
               ? static_cast<std::int64_t>(bytes)
               : -static_cast<std::int64_t>(::GetLastError());
}

StartResult pipe_failure(DWORD code) noexcept {
    return ends_pipe(code) ? StartResult{Start::done, 0}
                           : StartResult{Start::failed, winsock_code(code)};
}

PipeReader::~PipeReader() {
    if (event_ != nullptr) {
        (void)::CloseHandle(event_);
    }
}

StartResult PipeReader::read(HANDLE pipe, std::byte* data, std::size_t length) noexcept {
    const std::int64_t there = bytes_in(pipe);
    if (there <= 0) {
        return there == 0 ? StartResult{} : pipe_failure(static_cast<DWORD>(-there));
    }
    if (event_ == nullptr) {
        event_ = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
        if (event_ == nullptr) {
            return {Start::failed, winsock_code(::GetLastError())};
        }
    }
    OVERLAPPED request{};
    request.hEvent = reinterpret_cast<HANDLE>(reinterpret_cast<std::uintptr_t>(event_) | no_packet);
    const auto room = static_cast<DWORD>(std::min<std::size_t>(length, std::size_t{1} << 30U));
    DWORD code =
        winsock_.read_file(pipe, data, room, nullptr, &request) != FALSE ? 0 : ::GetLastError();
    if (code == ERROR_IO_PENDING) {
        (void)winsock_.cancel(pipe, &request);
        DWORD bytes = 0;
        code = ::GetOverlappedResult(pipe, &request, &bytes, TRUE) != FALSE ? 0 : ::GetLastError();
    }
    const auto bytes = static_cast<std::int64_t>(request.InternalHigh);
    if (code == ERROR_OPERATION_ABORTED || ((code == 0 || code == ERROR_MORE_DATA) && bytes == 0)) {
        return {};  // nothing was there after all, or an empty write: no end of the stream
    }
    return code == 0 || code == ERROR_MORE_DATA ? StartResult{Start::done, bytes}
                                                : pipe_failure(code);
}

}  // namespace iocp
