// IocpBackend: the socket calls, none of which waits.
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

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

int set_nonblocking(SOCKET socket, bool on) noexcept {
    u_long value = on ? 1 : 0;
    return ::ioctlsocket(socket, FIONBIO, &value) == 0 ? 0 : last_error();
}

}  // namespace

// Makes the handle ours alone, and its calls without an OVERLAPPED non-blocking. Calls with one are
// not affected.
int IocpBackend::own(SOCKET socket) noexcept {
    (void)::SetHandleInformation(reinterpret_cast<HANDLE>(socket), HANDLE_FLAG_INHERIT, 0);
    return set_nonblocking(socket, true);
}

int IocpBackend::open(int family, int type, int protocol, Handle& out) {
    const SOCKET socket = winsock_.socket(family, type, protocol, nullptr, 0,
                                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (socket == INVALID_SOCKET) {
        return last_error();
    }
    out = static_cast<Handle>(socket);
    return 0;
}

int IocpBackend::describe(Handle handle, Socket& out) {
    const auto socket = static_cast<SOCKET>(handle);
    WSAPROTOCOL_INFOW info{};
    int length = sizeof info;
    if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                     &length) != 0) {
        return last_error();
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

int IocpBackend::bind(Socket& socket, const Address& address) {
    return winsock_.bind(socket_of(socket), address_of(address),
                         static_cast<int>(address.length)) == 0
               ? 0
               : last_error();
}

int IocpBackend::listen(Socket& socket, int backlog) {
    return ::listen(socket_of(socket), backlog) == 0 ? 0 : last_error();
}

int IocpBackend::name_of(const Socket& socket, bool peer, Address& out) {
    auto* where = reinterpret_cast<sockaddr*>(out.bytes.data());
    int length = static_cast<int>(out.bytes.size());
    const SOCKET handle = socket_of(socket);
    if ((peer ? ::getpeername(handle, where, &length) : ::getsockname(handle, where, &length)) !=
        0) {
        const int code = last_error();
        if (peer || code != WSAEINVAL) {
            return code;
        }
        // Not bound yet: the wildcard address, as other systems report it.
        out = {};
        where->sa_family = static_cast<ADDRESS_FAMILY>(socket.family);
        length = socket.family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    }
    out.length = static_cast<std::uint32_t>(length);
    return 0;
}

int IocpBackend::get_option(const Socket& socket, int level, int option, void* value,
                            std::size_t& length) {
    int size = static_cast<int>(length);
    if (::getsockopt(socket_of(socket), level, option, static_cast<char*>(value), &size) != 0) {
        return last_error();
    }
    length = static_cast<std::size_t>(size);
    return 0;
}

int IocpBackend::set_option(const Socket& socket, int level, int option, const void* value,
                            std::size_t length) {
    return winsock_.set_option(socket_of(socket), level, option, static_cast<const char*>(value),
                               static_cast<int>(length)) == 0
               ? 0
               : last_error();
}

// Windows does not show the bytes it holds back, so a socket with the algorithm on reports
// `holding`.
Nagle IocpBackend::nagle(const Socket& socket) noexcept {
    BOOL nodelay = FALSE;
    int length = sizeof nodelay;
    const bool tcp = ::getsockopt(socket_of(socket), IPPROTO_TCP, TCP_NODELAY,
                                  reinterpret_cast<char*>(&nodelay), &length) == 0;
    return tcp && nodelay == FALSE ? Nagle::holding : Nagle::off;
}

int IocpBackend::shutdown(Socket& socket, bool receiving, bool sending) {
    const int how = receiving && sending ? SD_BOTH : (receiving ? SD_RECEIVE : SD_SEND);
    if (::shutdown(socket_of(socket), how) != 0) {
        return last_error();
    }
    Member* member = receiving ? member_of(socket.id) : nullptr;
    if (member != nullptr && member->receiving != nullptr) {
        // Windows lets the receive wait for ever, so it is cancelled.
        member->deaf = true;
        end(*member, *member->receiving);
    }
    return 0;
}

void IocpBackend::reset_on_close(Socket& socket) {
    const linger hard{1, 0};
    (void)::setsockopt(socket_of(socket), SOL_SOCKET, SO_LINGER,
                       reinterpret_cast<const char*>(&hard), sizeof hard);
}

// Forgets the socket, so that its later packets are ignored. A handle that never became a socket
// has no name.
void IocpBackend::leave(const Socket& socket) {
    Member* member = member_of(socket.id);
    if (member != nullptr && member->socket == socket_of(socket)) {
        *member = {};
        end_listener(socket.id);
    }
}

// The handle stays bound to this port: Windows documents no way out of one.
void IocpBackend::detach(Socket& socket) {
    leave(socket);
    (void)set_nonblocking(socket_of(socket), socket.was_nonblocking);
}

void IocpBackend::close(Socket& socket) {
    leave(socket);
    (void)winsock_.close(socket_of(socket));
}

int IocpBackend::pending_error(const Socket& socket) noexcept {
    Member* member = member_of(socket.id);
    return member != nullptr ? std::exchange(member->pending_error, 0) : 0;
}

// Returns whether a poll shows an error. Wine 8.0 reports a reset to one call only; later calls
// read the end of the stream, though a poll still shows the error. Windows reports it to every
// call, so there the poll only costs one call at a connection's end.
bool IocpBackend::was_reset(SOCKET socket) noexcept {
    WSAPOLLFD entry{socket, POLLRDNORM, 0};
    return ::WSAPoll(&entry, 1, 0) > 0 && (entry.revents & POLLERR) != 0;
}

// Turns the end of a stream that a reset has ended into that reset.
StartResult IocpBackend::checked(const Socket& socket, const StartResult& result) noexcept {
    const bool end = socket.stream && result.start == Start::done && result.value == 0;
    return end && was_reset(socket_of(socket)) ? failed(WSAECONNRESET) : result;
}

// Returns the error of a readiness wait after the stream's bytes that came before it.
StartResult IocpBackend::before_error(const Socket& socket, const StartResult& result) noexcept {
    if (result.start == Start::done && result.value > 0) {
        return result;
    }
    const int code = pending_error(socket);
    return code != 0 ? failed(code) : result;
}

StartResult IocpBackend::receive_now(Operation& op) {
    const Socket& socket = *op.socket;
    if (const int code = socket.stream ? 0 : pending_error(socket); code != 0) {
        return failed(code);
    }
    CallBuffers buffers;
    buffers.add(op);
    DWORD bytes = 0;
    const int returned = call_receive(op, buffers, receive_flags(op), bytes, nullptr);
    StartResult result =
        before_error(socket, checked(socket, received(returned, bytes, socket.stream)));
    if (result.start == Start::failed && result.value == WSAEMSGSIZE) {
        result = cut(op.remaining());
    }
    if (result.start == Start::done) {
        take_sender(op);
    }
    return result;
}

StartResult IocpBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    if (const int code = socket.stream ? 0 : pending_error(socket); code != 0) {
        return failed(code);
    }
    CallBuffers buffers;
    buffers.add(data, length);
    DWORD bytes = 0;
    DWORD flags = 0;
    const int returned =
        winsock_.receive(socket_of(socket), buffers.data(), 1, &bytes, &flags, nullptr, nullptr);
    return before_error(socket, checked(socket, received(returned, bytes, socket.stream)));
}

// Returns acknowledged bytes where the system has SIO_TCP_INFO (Windows 10; not Wine 8.0). Bytes
// sent again, and probes of a closed window, are left out.
std::uint64_t IocpBackend::bytes_taken(const Socket& socket) noexcept {
    DWORD version = 0;
    TcpInfo info{};
    DWORD length = 0;
    if (::WSAIoctl(socket_of(socket), tcp_info_code, &version, sizeof version, &info, sizeof info,
                   &length, nullptr, nullptr) != 0) {
        return 0;
    }
    return info.bytes_out - info.bytes_retransmitted - info.bytes_in_flight;
}

// True: the following readiness wait reports at once if more is there.
bool IocpBackend::drained(Socket& /*socket*/) noexcept { return true; }

std::int32_t IocpBackend::flags_taken(const Socket& socket, bool sending) const noexcept {
    const std::int32_t urgent = socket.stream ? MSG_OOB : 0;
    return urgent | (sending ? MSG_DONTROUTE : MSG_PEEK | MSG_WAITALL);
}

bool IocpBackend::waits_for_all(std::int32_t flags) const noexcept {
    constexpr std::int32_t elsewhere = MSG_PEEK | MSG_OOB;
    return (flags & MSG_WAITALL) != 0 && (flags & elsewhere) == 0;
}

std::int64_t IocpBackend::available(Socket& socket) {
    u_long bytes = 0;
    return ::ioctlsocket(socket_of(socket), FIONREAD, &bytes) == 0
               ? static_cast<std::int64_t>(bytes)
               : -last_error();
}

StartResult IocpBackend::send_now(Operation& op, unsigned count) {
    if (!can_send(*op.socket)) {
        return failed(WSAENOTCONN);
    }
    CallBuffers buffers;
    buffers.add(op, count);
    DWORD bytes = 0;
    const int returned = call_send(op, buffers, bytes, nullptr);
    return came_to(returned, bytes, op.socket->stream);
}

StartResult IocpBackend::accept_now(Operation& op) {
    const Socket& socket = *op.socket;
    const SOCKET made = winsock_.accept(socket_of(socket), nullptr, nullptr);
    if (made == INVALID_SOCKET) {
        return came_to(SOCKET_ERROR, 0, socket.stream);
    }
    if (const int code = own(made); code != 0) {
        (void)winsock_.close(made);
        return failed(code);
    }
    // accept() would not name the peer of a connection that is over, and would drop it.
    if (Message* message = op.message()) {
        message->address = peer_of(made);
    }
    return {Start::done, 0, static_cast<Handle>(made)};
}

StartResult IocpBackend::attempt(Operation& op, unsigned count) {
    switch (op.kind) {
        case OperationKind::receive:
            return receive_now(op);
        case OperationKind::zero_byte:
            break;
        case OperationKind::receive_each:
            if (!op.readiness_only) {
                return receive_now(op);
            }
            break;
        case OperationKind::send:
            return op.from_file ? StartResult{} : send_now(op, count);
        case OperationKind::accept:
        case OperationKind::accept_each: {
            Listener* listener = listener_of(op.socket->id);
            return listener != nullptr && !listener->arrived.empty() ? accept(op) : accept_now(op);
        }
        case OperationKind::connect:
        case OperationKind::disconnect:
            return {};
        case OperationKind::writable:
            break;
    }
    const SHORT events = op.kind == OperationKind::writable ? POLLWRNORM : POLLRDNORM;
    WSAPOLLFD entry{socket_of(*op.socket), events, 0};
    if (::WSAPoll(&entry, 1, 0) < 0) {
        return failed(last_error());
    }
    // POLLHUP also reports the peer's end, which makes no room. If it is alone, AFD waits for room.
    const int found = op.kind == OperationKind::writable ? entry.revents & ~POLLHUP : entry.revents;
    return {found != 0 ? Start::done : Start::pending, 0};
}

// Switches the socket's send buffer off, or on again. Without it the socket sends from the pages of
// the request, which stay locked until the peer has acknowledged them (Microsoft, SO_SNDBUF).
bool IocpBackend::send_direct(Socket& socket, bool on) {
    const int size = on ? 0 : 64 << 10;
    return set_option(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0;
}

bool IocpBackend::fatal(const Operation& op, int code) const noexcept {
    return code_fatal(op, code);
}

bool IocpBackend::ends_sending(int code) const noexcept { return code == WSAESHUTDOWN; }

bool IocpBackend::exhausted(int code) const noexcept { return code_exhausted(code); }

bool IocpBackend::cancelled(int code) const noexcept { return code_cancelled(code); }

std::int64_t IocpBackend::cancel_code() const noexcept { return -WSA_OPERATION_ABORTED; }

int IocpBackend::memory_code() const noexcept { return WSA_NOT_ENOUGH_MEMORY; }

}  // namespace iocp
