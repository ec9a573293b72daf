// IocpBackend: sends whose bytes the system takes from a file.
#include <algorithm>

#include "backend/sent_file.hpp"
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

namespace {

// TransmitFile takes at most 2 GiB less two bytes; the core sends the rest.
constexpr std::size_t max_bytes = std::size_t{1} << 30U;

HANDLE handle_of(const SentFile& file) noexcept { return reinterpret_cast<HANDLE>(file.handle()); }

}  // namespace

StartResult IocpBackend::send_file(Operation& op) {
    if (op.remaining() == 0) {
        return {Start::done, 0};  // TransmitFile would take 0 bytes to mean the whole file
    }
    if (!can_send(*op.socket)) {
        return failed(WSAENOTCONN);
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    const std::uint64_t position = SentFile::position(op);
    request->overlapped.Offset = static_cast<DWORD>(position);
    request->overlapped.OffsetHigh = static_cast<DWORD>(position >> 32U);
    const auto count = static_cast<DWORD>(std::min(op.remaining(), max_bytes));
    const bool at_once =
        winsock_.transmit_file(socket_of(*op.socket), handle_of(SentFile::of(op)), count, 0,
                               &request->overlapped, nullptr, 0) != FALSE;
    const StartResult result =
        started(op, *request, at_once, static_cast<DWORD>(request->overlapped.InternalHigh));
    // Wine 8.0 reports WSAENOTCONN for a connection that is gone.
    const bool gone = result.start == Start::failed && result.value == WSAENOTCONN;
    return gone ? failed(WSAECONNRESET) : result;
}

int SentFile::duplicate(Handle file, std::unique_ptr<SentFile>& out) {
    HANDLE made = nullptr;
    const HANDLE process = ::GetCurrentProcess();
    if (::DuplicateHandle(process, reinterpret_cast<HANDLE>(file), process, &made, 0, FALSE,
                          DUPLICATE_SAME_ACCESS) == FALSE) {
        return static_cast<int>(::GetLastError());
    }
    out.reset(new SentFile(reinterpret_cast<Handle>(made)));
    if (::GetFileType(made) == FILE_TYPE_DISK) {
        LARGE_INTEGER length{};
        if (::GetFileSizeEx(made, &length) == FALSE) {
            return static_cast<int>(::GetLastError());
        }
        out->length_ = length.QuadPart;
    }
    return 0;
}

// Reads at an offset. Restores the file position of a synchronous handle, because the read moves
// the position and the caller's handle shares it.
int SentFile::read(std::uint64_t at, std::byte* out, std::size_t length, std::size_t& got) const {
    const HANDLE file = handle_of(*this);
    LARGE_INTEGER before{};
    const bool positioned = ::SetFilePointerEx(file, {}, &before, FILE_CURRENT) != FALSE;
    OVERLAPPED place{};
    place.Offset = static_cast<DWORD>(at);
    place.OffsetHigh = static_cast<DWORD>(at >> 32U);
    DWORD count = 0;
    const auto maximum = static_cast<DWORD>(std::min(length, max_bytes));
    bool good = ::ReadFile(file, out, maximum, &count, &place) != FALSE;
    if (!good && ::GetLastError() == ERROR_IO_PENDING) {
        good = ::GetOverlappedResult(file, &place, &count, TRUE) != FALSE;
    }
    const DWORD code = good ? ERROR_SUCCESS : ::GetLastError();
    if (positioned) {
        (void)::SetFilePointerEx(file, before, nullptr, FILE_BEGIN);
    }
    got = count;
    return code == ERROR_HANDLE_EOF ? 0 : static_cast<int>(code);
}

SentFile::~SentFile() { (void)::CloseHandle(handle_of(*this)); }

}  // namespace iocp
