#include "backend/windows/windows_backend.hpp"

#include "backend/windows/call.hpp"
#include "backend/windows/pipe.hpp"
#include "backend/windows/socket_calls.hpp"

namespace iocp {

namespace {

const sockaddr* address_of(const Address& address) noexcept {
    return reinterpret_cast<const sockaddr*>(address.bytes.data());
}

// SIO_TCP_INFO and TCP_INFO_v0 of mstcpip.h, which declares them only for programs that target
// Windows 10 1703.
constexpr DWORD tcp_info_code = _WSAIORW(IOC_VENDOR, 39);

struct TcpInfo {
    std::int32_t state;
    std::uint32_t segment;
    std::uint64_t connected_ms;
    BOOLEAN timestamps;
    std::uint32_t round_trip_us;
    std::uint32_t min_round_trip_us;
    std::uint32_t bytes_in_flight;
    std::uint32_t windows[4];
    std::uint64_t bytes_out;
    std::uint64_t bytes_in;
    std::uint32_t bytes_reordered;
    std::uint32_t bytes_retransmitted;
    std::uint32_t events[3];
    std::uint8_t retried_syns;
};
static_assert(sizeof(TcpInfo) == 88);

}  // namespace

int WindowsBackend::open(int family, int type, int protocol, Handle& out) {
    const SOCKET socket = winsock_.socket(family, type, protocol, nullptr, 0,
                                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (socket == INVALID_SOCKET) {
        return last_error();
    }
    out = static_cast<Handle>(socket);
    return 0;
}

int WindowsBackend::describe_watched(Handle handle, Socket& /*out*/) {
    int type = 0;
    int length = sizeof type;
    return ::getsockopt(static_cast<SOCKET>(handle), SOL_SOCKET, SO_TYPE,
                        reinterpret_cast<char*>(&type), &length) == 0
               ? 0
               : last_error();
}

int WindowsBackend::describe_pipe(Handle handle, Socket& out) {
    if (const int code = check_pipe(reinterpret_cast<HANDLE>(handle)); code != 0) {
        return code;
    }
    out.type = SOCK_STREAM;
    out.stream = true;
    out.connected = true;
    out.backend_bits |= bit_pipe;
    return 0;
}

// A file's handle is refused: it is signalled at the end of any of its operations.
int WindowsBackend::describe_object(Handle handle, Socket& out) {
    const auto object = reinterpret_cast<HANDLE>(handle);
    DWORD flags = 0;
    if (::GetHandleInformation(object, &flags) == FALSE) {
        return static_cast<int>(::GetLastError());
    }
    if (::GetFileType(object) != FILE_TYPE_UNKNOWN) {
        return WSAEOPNOTSUPP;
    }
    out.backend_bits |= bit_object;
    return 0;
}

int WindowsBackend::describe(Handle handle, Socket& out) {
    const auto socket = static_cast<SOCKET>(handle);
    WSAPROTOCOL_INFOW info{};
    int length = sizeof info;
    if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                     &length) != 0) {
        const int code = last_error();
        return code == WSAENOTSOCK ? describe_pipe(handle, out) : code;
    }
    out.family = static_cast<std::int16_t>(info.iAddressFamily);
    out.type = static_cast<std::uint8_t>(info.iSocketType);
    out.protocol = static_cast<std::int16_t>(info.iProtocol);
    out.stream = info.iSocketType == SOCK_STREAM;
    sockaddr_storage peer{};
    length = sizeof peer;
    out.connected = ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    BOOL listening = FALSE;
    length = sizeof listening;
    out.listening = ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN,
                                 reinterpret_cast<char*>(&listening), &length) == 0 &&
                    listening != FALSE;
    return set_nonblocking(socket, true);
}

int WindowsBackend::bind(Socket& socket, const Address& address) {
    return winsock_.bind(socket_of(socket), address_of(address),
                         static_cast<int>(address.length)) == 0
               ? 0
               : last_error();
}

int WindowsBackend::listen(Socket& socket, int backlog) {
    return ::listen(socket_of(socket), backlog) == 0 ? 0 : last_error();
}

int WindowsBackend::name_of(const Socket& socket, bool peer, Address& out) {
    auto* where = reinterpret_cast<sockaddr*>(out.bytes.data());
    int length = static_cast<int>(out.bytes.size());
    const SOCKET handle = socket_of(socket);
    if ((peer ? ::getpeername(handle, where, &length) : ::getsockname(handle, where, &length)) !=
        0) {
        const int code = last_error();
        if (peer || code != WSAEINVAL) {
            return code;
        }
        // The socket is not bound yet. Returns the wildcard address, as other systems do.
        out = {};
        where->sa_family = static_cast<ADDRESS_FAMILY>(socket.family);
        length = socket.family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    }
    out.length = static_cast<std::uint32_t>(length);
    return 0;
}

int WindowsBackend::get_option(const Socket& socket, int level, int option, void* value,
                               std::size_t& length) {
    int size = static_cast<int>(length);
    if (::getsockopt(socket_of(socket), level, option, static_cast<char*>(value), &size) != 0) {
        return last_error();
    }
    length = static_cast<std::size_t>(size);
    return 0;
}

int WindowsBackend::set_option(const Socket& socket, int level, int option, const void* value,
                               std::size_t length) {
    return winsock_.set_option(socket_of(socket), level, option, static_cast<const char*>(value),
                               static_cast<int>(length)) == 0
               ? 0
               : last_error();
}

// Windows does not show the bytes that it holds back, so a socket with Nagle's algorithm on reports
// `holding`.
Nagle WindowsBackend::nagle(const Socket& socket) noexcept {
    BOOL nodelay = FALSE;
    int length = sizeof nodelay;
    const bool tcp = ::getsockopt(socket_of(socket), IPPROTO_TCP, TCP_NODELAY,
                                  reinterpret_cast<char*>(&nodelay), &length) == 0;
    return tcp && nodelay == FALSE ? Nagle::holding : Nagle::off;
}

int WindowsBackend::shutdown(Socket& socket, bool receiving, bool sending) {
    if (is_pipe(socket)) {
        return WSAEOPNOTSUPP;  // a pipe's directions end together
    }
    const int how = receiving && sending ? SD_BOTH : (receiving ? SD_RECEIVE : SD_SEND);
    return ::shutdown(socket_of(socket), how) == 0 ? 0 : last_error();
}

void WindowsBackend::reset_on_close(Socket& socket) {
    if (is_pipe(socket)) {
        return;
    }
    const linger hard{1, 0};
    (void)::setsockopt(socket_of(socket), SOL_SOCKET, SO_LINGER,
                       reinterpret_cast<const char*>(&hard), sizeof hard);
}

void WindowsBackend::detach(Socket& socket) {
    if (!socket.watched && !is_pipe(socket)) {
        (void)set_nonblocking(socket_of(socket), socket.was_nonblocking);
    }
}

void WindowsBackend::close(Socket& socket) {
    if (is_pipe(socket)) {
        (void)::CloseHandle(handle_of(socket_of(socket)));
    } else {
        (void)winsock_.close(socket_of(socket));
    }
}

// Returns the number of acknowledged bytes if the system has SIO_TCP_INFO (Windows 10; not Wine
// 8.0), otherwise 0. Bytes sent again, and probes of a closed window, are left out.
std::uint64_t WindowsBackend::bytes_taken(const Socket& socket) noexcept {
    DWORD version = 0;
    TcpInfo info{};
    DWORD length = 0;
    if (::WSAIoctl(socket_of(socket), tcp_info_code, &version, sizeof version, &info, sizeof info,
                   &length, nullptr, nullptr) != 0) {
        return 0;
    }
    return info.bytes_out - info.bytes_retransmitted - info.bytes_in_flight;
}

// Counts a socket as emptied by every short read. If more data is there, the readiness wait that
// follows reports at once.
bool WindowsBackend::drained(Socket& /*socket*/) noexcept { return true; }

std::int32_t WindowsBackend::flags_taken(const Socket& socket, bool sending) const noexcept {
    if (is_pipe(socket)) {
        return sending ? 0 : MSG_WAITALL;
    }
    const std::int32_t urgent = socket.stream ? MSG_OOB : 0;
    return urgent | (sending ? MSG_DONTROUTE : MSG_PEEK | MSG_WAITALL);
}

bool WindowsBackend::waits_for_all(std::int32_t flags) const noexcept {
    constexpr std::int32_t elsewhere = MSG_PEEK | MSG_OOB;
    return (flags & MSG_WAITALL) != 0 && (flags & elsewhere) == 0;
}

std::int64_t WindowsBackend::available(Socket& socket) {
    if (is_pipe(socket)) {
        return bytes_in(handle_of(socket_of(socket)));
    }
    u_long bytes = 0;
    return ::ioctlsocket(socket_of(socket), FIONREAD, &bytes) == 0
               ? static_cast<std::int64_t>(bytes)
               : -last_error();
}

// Switches the socket's send buffer off, or on again. Without a send buffer the socket sends from
// the pages of the request, which stay locked until the peer has acknowledged them (Microsoft,
// SO_SNDBUF).
bool WindowsBackend::send_direct(Socket& socket, bool on) {
    const int size = on ? 0 : 64 << 10;
    return set_option(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0;
}

std::int64_t WindowsBackend::now() const noexcept {
    static const std::int64_t frequency = [] {
        LARGE_INTEGER value{};
        (void)::QueryPerformanceFrequency(&value);
        return value.QuadPart;
    }();
    LARGE_INTEGER count{};
    (void)::QueryPerformanceCounter(&count);
    constexpr std::int64_t second = 1'000'000'000;
    return (count.QuadPart / frequency) * second +
           (count.QuadPart % frequency) * second / frequency;
}

// Returns all pages of a request in the kernel. Windows locks the buffers of every such request,
// page by page, until it ends.
std::uint32_t WindowsBackend::kernel_locked(const Operation& op) const noexcept {
    return op.state.load(std::memory_order_relaxed) == State::queued ? 0 : op.receipt.pages();
}

bool WindowsBackend::fatal(const Operation& op, int code) const noexcept {
    return code_fatal(op, code);
}

bool WindowsBackend::ends_sending(int code) const noexcept { return code == WSAESHUTDOWN; }

bool WindowsBackend::exhausted(int code) const noexcept { return code_exhausted(code); }

bool WindowsBackend::cancelled(int code) const noexcept { return code_cancelled(code); }

std::int64_t WindowsBackend::cancel_code() const noexcept { return -WSA_OPERATION_ABORTED; }

int WindowsBackend::memory_code() const noexcept { return WSA_NOT_ENOUGH_MEMORY; }

}  // namespace iocp
