// LinuxBackend: disconnects, which end a connection and keep its socket.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "backend/linux/call.hpp"
#include "backend/linux/linux_backend.hpp"

namespace iocp {

namespace {

// Returns whether the peer has acknowledged everything, including the end of the stream. Before
// that, connect(2) with AF_UNSPEC would lose the end of the stream, or reset the connection.
bool all_over(int fd) noexcept {
    tcp_info info{};
    socklen_t length = sizeof info;
    return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
           info.tcpi_state == TCP_CLOSE;
}

}  // namespace

// Calls connect(2) with AF_UNSPEC, which makes the socket like a new one.
int LinuxBackend::unname_peer(Socket& socket) noexcept {
    const sockaddr nobody{AF_UNSPEC, {}};
    if (::connect(fd_of(socket), &nobody, sizeof nobody) != 0) {
        return errno;
    }
    socket.backend_bits &= ~(bit_unreadable | bit_unwritable | bit_read_on);
    return 0;
}

// Sends the end of the stream, then waits for the peer's end of the stream.
StartResult LinuxBackend::disconnect_now(Operation& op) {
    Socket& socket = *op.socket;
    const int fd = fd_of(socket);
    // ENOTCONN: the connection is gone already, and nothing is left to end.
    if (!op.asked && ::shutdown(fd, SHUT_WR) != 0 && errno != ENOTCONN) {
        return failed(errno);
    }
    op.asked = true;
    pollfd entry{fd, POLLRDHUP, 0};
    if (retry([&] { return ::poll(&entry, 1, 0); }) < 0) {
        return failed(errno);
    }
    if (entry.revents == 0) {
        return {};
    }
    int code = 0;
    socklen_t length = sizeof code;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0 || code != 0) {
        return failed(code != 0 ? code : errno);
    }
    if (!op.reuse) {
        return {Start::done, 0};
    }
    if (!all_over(fd)) {
        return failed(EAGAIN);
    }
    const int left = unname_peer(socket);
    return left != 0 ? failed(left) : StartResult{Start::done, 0};
}

// Makes the kernel abandon a connection attempt; the kernel resets a connection that was made
// meanwhile. Then clears the error (SO_ERROR) that this leaves in the socket.
int LinuxBackend::withdraw(Operation& op) {
    if (!op.asked) {
        return 0;
    }
    Socket& socket = *op.socket;
    if (const int code = unname_peer(socket); code != 0) {
        return code;
    }
    int met = 0;
    socklen_t length = sizeof met;
    (void)::getsockopt(fd_of(socket), SOL_SOCKET, SO_ERROR, &met, &length);
    return 0;
}

}  // namespace iocp
