#include "backend/linux/linux_backend.hpp"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "backend/linux/call.hpp"
#include "backend/linux/message_header.hpp"

namespace iocp {

namespace {

// IOV_MAX of Linux: the maximum number of parts in one call.
constexpr std::size_t max_parts = 1024;

bool would_block(int code) noexcept { return code == EAGAIN || code == EWOULDBLOCK; }

const sockaddr* address_of(const Address& address) noexcept {
    return reinterpret_cast<const sockaddr*>(address.bytes.data());
}

// Clears SO_LINGER if it has a timeout, because close(2) would then block even on a non-blocking
// socket. Without SO_LINGER the kernel still sends the remaining data, and no thread waits.
void never_linger(int fd) noexcept {
    linger found{};
    socklen_t length = sizeof found;
    if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &found, &length) == 0 && found.l_onoff != 0 &&
        found.l_linger != 0) {
        const linger off{0, 0};
        (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
    }
}

}  // namespace

int LinuxBackend::open(int family, int type, int protocol, Handle& out) {
    const int fd = ::socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) {
        return errno;
    }
    out = fd;
    return 0;
}

int LinuxBackend::describe(Handle handle, Socket& out) {
    const int fd = static_cast<int>(handle);
    int family = 0;
    int type = 0;
    int protocol = 0;
    socklen_t length = sizeof family;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0) {
        return errno;
    }
    length = sizeof type;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        return errno;
    }
    length = sizeof protocol;
    if (::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0) {
        return errno;
    }
    out.family = static_cast<std::int16_t>(family);
    out.type = static_cast<std::uint8_t>(type);
    out.protocol = static_cast<std::int16_t>(protocol);
    out.stream = type == SOCK_STREAM;
    sockaddr_storage peer{};
    length = sizeof peer;
    out.connected = ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    int listening = 0;
    length = sizeof listening;
    out.listening =
        ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
    return 0;
}

// Tries whether epoll(7) takes the file. epoll refuses files that are always ready, such as a
// regular file or /dev/null; io_uring would accept them. The trial gives both backends the same
// rule.
int LinuxBackend::describe_watched(Handle handle, Socket& /*out*/) {
    const int fd = static_cast<int>(handle);
    struct stat found {};
    if (::fstat(fd, &found) != 0) {
        return errno;
    }
    if (S_ISSOCK(found.st_mode) || S_ISFIFO(found.st_mode)) {
        return 0;
    }
    const int trial = ::epoll_create1(EPOLL_CLOEXEC);
    if (trial < 0) {
        return errno;
    }
    epoll_event event{};
    const int code = ::epoll_ctl(trial, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
    (void)::close(trial);
    return code;
}

int LinuxBackend::bind(Socket& socket, const Address& address) {
    if (::bind(fd_of(socket), address_of(address), address.length) != 0) {
        return errno;
    }
    if (socket.family == AF_UNIX) {
        paths_.made(fd_of(socket), address);
    }
    return 0;
}

int LinuxBackend::listen(Socket& socket, int backlog) {
    return ::listen(fd_of(socket), backlog) == 0 ? 0 : errno;
}

int LinuxBackend::name_of(const Socket& socket, bool peer, Address& out) {
    auto* where = reinterpret_cast<sockaddr*>(out.bytes.data());
    socklen_t length = out.bytes.size();
    const int fd = fd_of(socket);
    if ((peer ? ::getpeername(fd, where, &length) : ::getsockname(fd, where, &length)) != 0) {
        return errno;
    }
    out.length = length;
    return 0;
}

int LinuxBackend::get_option(const Socket& socket, int level, int option, void* value,
                             std::size_t& length) {
    auto size = static_cast<socklen_t>(length);
    if (::getsockopt(fd_of(socket), level, option, value, &size) != 0) {
        return errno;
    }
    length = size;
    return 0;
}

int LinuxBackend::set_option(const Socket& socket, int level, int option, const void* value,
                             std::size_t length) {
    return ::setsockopt(fd_of(socket), level, option, value, static_cast<socklen_t>(length)) == 0
               ? 0
               : errno;
}

Nagle LinuxBackend::nagle(const Socket& socket) noexcept {
    int nodelay = 0;
    socklen_t length = sizeof nodelay;
    if (::getsockopt(fd_of(socket), IPPROTO_TCP, TCP_NODELAY, &nodelay, &length) != 0 ||
        nodelay != 0) {
        return Nagle::off;  // also for sockets that are not TCP
    }
    int unsent = 0;
    return ::ioctl(fd_of(socket), SIOCOUTQNSD, &unsent) == 0 && unsent > 0 ? Nagle::holding
                                                                           : Nagle::idle;
}

int LinuxBackend::shutdown(Socket& socket, bool receiving, bool sending) {
    const int how = receiving && sending ? SHUT_RDWR : (receiving ? SHUT_RD : SHUT_WR);
    return ::shutdown(fd_of(socket), how) == 0 ? 0 : errno;
}

void LinuxBackend::reset_on_close(Socket& socket) {
    const linger hard{1, 0};
    (void)::setsockopt(fd_of(socket), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

// Clears O_NONBLOCK if the library has set it, because other holders of the open file share this
// mode.
void LinuxBackend::let_go(Socket& socket) noexcept {
    if ((socket.backend_bits & bit_nonblocking) != 0) {
        (void)set_nonblocking(fd_of(socket), false);
    }
    socket.backend_bits = 0;
}

void LinuxBackend::detach(Socket& socket) {
    let_go(socket);
    if (!socket.watched) {
        paths_.forget(fd_of(socket));
    }
}

// Closes the socket's descriptor. The connection goes on for other holders of the open file (fork,
// dup), which the library cannot know. Only shutdown() and disconnect() end the connection for all
// holders.
void LinuxBackend::close(Socket& socket) {
    let_go(socket);
    if (socket.shared) {
        paths_.forget(fd_of(socket));
    } else {
        paths_.remove(fd_of(socket));
    }
    never_linger(fd_of(socket));
    (void)::close(fd_of(socket));
}

// Converts the return value of a non-blocking call to a StartResult. If the call would have
// blocked, sets the bits in `blocked` in the socket's backend_bits.
StartResult LinuxBackend::came_to(Socket& socket, std::int64_t result,
                                  std::uint32_t blocked) noexcept {
    if (result >= 0) {
        return {Start::done, result};
    }
    if (would_block(errno)) {
        socket.backend_bits |= blocked;
        return {Start::pending, 0};
    }
    return failed(errno);
}

StartResult LinuxBackend::poll_now(const Socket& socket, short events) {
    pollfd entry{fd_of(socket), events, 0};
    const int count = retry([&] { return ::poll(&entry, 1, 0); });
    if (count < 0) {
        return failed(errno);
    }
    if (count > 0 && (entry.revents & POLLNVAL) != 0) {
        return failed(EBADF);
    }
    return {count > 0 ? Start::done : Start::pending, 0};
}

// Polls for room to send. The poll makes the kernel note a waiter (SOCK_NOSPACE), without which no
// edge would report room later.
StartResult LinuxBackend::room_now(Socket& socket) {
    const StartResult result = poll_now(socket, POLLOUT);
    if (result.start == Start::pending) {
        socket.backend_bits |= bit_unwritable;
    }
    return result;
}

bool LinuxBackend::waits_for_all(std::int32_t flags) const noexcept {
    // Receives with these flags take no bytes of the stream.
    constexpr int elsewhere = MSG_PEEK | MSG_OOB | MSG_ERRQUEUE;
    return (flags & MSG_WAITALL) != 0 && (flags & elsewhere) == 0;
}

int LinuxBackend::receive_flags(const Operation& op) noexcept {
    return (op.flags & ~MSG_WAITALL) | MSG_CMSG_CLOEXEC;
}

bool LinuxBackend::reads_notified(const Operation& op) noexcept {
    return (op.flags & (MSG_OOB | MSG_ERRQUEUE)) != 0;
}

StartResult LinuxBackend::receive_now(Operation& op) {
    Socket& socket = *op.socket;
    std::array<iovec, max_parts> parts;
    const std::size_t count = list_parts(op, 1, parts.data(), parts.size());
    msghdr header = header_of(op, parts.data(), count);
    const int flags = receive_flags(op) | MSG_DONTWAIT;
    const ssize_t got = retry([&] { return ::recvmsg(fd_of(socket), &header, flags); });
    StartResult result = came_to(socket, got, reads_notified(op) ? 0 : bit_unreadable);
    if (result.start == Start::done) {
        result.flags = take_answer(op, header);
    }
    return result;
}

StartResult LinuxBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    const ssize_t got = retry([&] { return ::recv(fd_of(socket), data, length, MSG_DONTWAIT); });
    return came_to(socket, got, bit_unreadable);
}

// Returns whether a SOCK_SEQPACKET read of 0 bytes is the end of the connection, not an empty
// message. It is the end if the peer has shut down its side and no byte is left.
bool LinuxBackend::sends_no_more(const Socket& socket) noexcept {
    pollfd entry{fd_of(socket), POLLRDHUP, 0};
    int bytes = 0;
    return retry([&] { return ::poll(&entry, 1, 0); }) > 0 &&
           ::ioctl(fd_of(socket), FIONREAD, &bytes) == 0 && bytes == 0;
}

// MSG_TRUNC makes recvfrom(2) return the true length of a datagram, which shows a truncation.
StartResult LinuxBackend::read_from(Socket& socket, std::byte* data, std::size_t length,
                                    Address& from) {
    socklen_t size = from.bytes.size();
    const ssize_t got = retry([&] {
        return ::recvfrom(fd_of(socket), data, length, MSG_DONTWAIT | MSG_TRUNC,
                          reinterpret_cast<sockaddr*>(from.bytes.data()), &size);
    });
    StartResult result = came_to(socket, got, bit_unreadable);
    from.length = size;
    result.ended = got == 0 && socket.type == SOCK_SEQPACKET && sends_no_more(socket);
    if (got > static_cast<ssize_t>(length)) {
        result.value = static_cast<std::int64_t>(length);
        result.flags = MSG_TRUNC;
    }
    return result;
}

// Returns whether a short read means that the socket is empty, and notes it. Three things end a
// read early, and no further edge reports the rest: the end of the stream, urgent data, and
// descriptors passed along with bytes (AF_UNIX).
bool LinuxBackend::drained(Socket& socket) noexcept {
    if ((socket.backend_bits & bit_read_on) != 0 || socket.family == AF_UNIX) {
        return false;
    }
    socket.backend_bits |= bit_unreadable;
    return true;
}

std::int64_t LinuxBackend::available(Socket& socket) {
    int bytes = 0;
    return ::ioctl(fd_of(socket), FIONREAD, &bytes) == 0 ? bytes : -errno;
}

StartResult LinuxBackend::send_now(Operation& op, unsigned count) {
    Socket& socket = *op.socket;
    std::array<iovec, max_parts> parts;
    const std::size_t used = list_parts(op, count, parts.data(), parts.size());
    const int flags = op.flags | MSG_DONTWAIT | MSG_NOSIGNAL;
    if (used == 1 && !op.is_message) {  // most sends: send(2) saves the kernel the copy of a msghdr
        const iovec part = parts[0];
        return came_to(socket, retry([&] {
                           return ::send(fd_of(socket), part.iov_base, part.iov_len, flags);
                       }),
                       bit_unwritable);
    }
    const msghdr header = header_of(op, parts.data(), used);
    const ssize_t went = retry([&] { return ::sendmsg(fd_of(socket), &header, flags); });
    return came_to(socket, went, goes_blind(op) ? 0 : bit_unwritable);
}

bool LinuxBackend::goes_blind(const Operation& op) noexcept {
    const Socket& socket = *op.socket;
    return op.kind == OperationKind::send && op.is_message && socket.family == AF_UNIX &&
           !socket.stream && op.message()->address.length != 0;
}

StartResult LinuxBackend::send_blind(Operation& op) {
    const StartResult result = send_now(op, 1);
    return result.start == Start::pending ? failed(EAGAIN) : result;
}

StartResult LinuxBackend::accept_now(Operation& op) {
    Socket& socket = *op.socket;
    // No flag keeps a single accept4(2) from blocking, so the listener itself must be non-blocking.
    // Another holder of the open file may have changed that mode since the last call.
    const int mode = ::fcntl(fd_of(socket), F_GETFL);
    if (mode >= 0 && (mode & O_NONBLOCK) == 0) {
        if (::fcntl(fd_of(socket), F_SETFL, mode | O_NONBLOCK) != 0) {
            return failed(errno);
        }
        socket.backend_bits |= bit_nonblocking;
    }
    // Takes the peer's address from accept4(2), because getpeername(2) fails once the connection
    // was reset.
    Message* message = op.message();
    sockaddr* where = nullptr;
    socklen_t length = 0;
    if (message != nullptr) {
        where = reinterpret_cast<sockaddr*>(message->address.bytes.data());
        length = message->address.bytes.size();
    }
    const int fd = retry([&] {
        return ::accept4(fd_of(socket), where, where != nullptr ? &length : nullptr, SOCK_CLOEXEC);
    });
    if (fd >= 0 && message != nullptr) {
        message->address.length = length;
    }
    return fd >= 0 ? StartResult{Start::done, 0, fd} : came_to(socket, fd, bit_unreadable);
}

// Starts a connection attempt, or asks for its result. A second connect(2) returns the result and
// leaves the socket able to connect again; reading SO_ERROR would not.
StartResult LinuxBackend::connect_now(Operation& op) {
    const int fd = fd_of(*op.socket);
    const auto& address = *reinterpret_cast<const Address*>(op.lease.data);
    const bool again = op.asked;
    int code = 0;
    {
        const Nonblocking nonblocking(fd);
        code = ::connect(fd, address_of(address), address.length) == 0 ? 0 : errno;
    }
    op.asked = code != EAGAIN;  // EAGAIN: the system has not begun an attempt
    if (code == 0 || (again && code == EISCONN)) {
        return {Start::done, 0};
    }
    if (code == EINPROGRESS || code == EALREADY || code == EINTR) {
        return {Start::pending, 0};
    }
    return failed(code);
}

// The table of the MSG_* flags that callers may pass (R29). The port refuses other flags: with them
// it would depend on the backend whether a call blocks, or the system would use the caller's memory
// after the operation.
std::int32_t LinuxBackend::flags_taken(const Socket& socket, bool sending) const noexcept {
    const bool internet = is_internet(socket);
    const bool datagram = socket.type == SOCK_DGRAM;
    std::int32_t flags = socket.stream ? MSG_OOB : 0;
    if (!sending) {
        flags |= MSG_PEEK | MSG_WAITALL | MSG_CMSG_CLOEXEC;
        flags |= socket.stream ? 0 : MSG_TRUNC;
        flags |= internet ? MSG_ERRQUEUE : 0;
        return flags;
    }
    flags |= MSG_NOSIGNAL;
    flags |= internet ? MSG_DONTROUTE : 0;
    flags |= socket.stream || (internet && datagram) ? MSG_MORE : 0;
    flags |= internet && datagram ? MSG_CONFIRM : 0;
    flags |= socket.type == SOCK_SEQPACKET ? MSG_EOR : 0;
    return flags;
}

StartResult LinuxBackend::attempt(Operation& op, unsigned count) {
    switch (op.kind) {
        case OperationKind::receive:
            return receive_now(op);
        case OperationKind::zero_byte:
            return poll_now(*op.socket, POLLIN | POLLRDHUP);
        case OperationKind::writable:
            return room_now(*op.socket);
        case OperationKind::send:
            return op.from_file ? send_file_now(op) : send_now(op, count);
        case OperationKind::connect:
            return connect_now(op);
        case OperationKind::disconnect:
            return disconnect_now(op);
        case OperationKind::accept:
        case OperationKind::accept_each:
            return accept_now(op);
        case OperationKind::receive_each:
            return op.readiness_only ? poll_now(*op.socket, POLLIN | POLLRDHUP) : receive_now(op);
    }
    return failed(EINVAL);
}

std::int64_t LinuxBackend::now() const noexcept {
    timespec time{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &time);
    return (static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000) + time.tv_nsec;
}

}  // namespace iocp
