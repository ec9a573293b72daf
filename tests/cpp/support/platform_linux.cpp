#ifdef __linux__

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "platform.hpp"

namespace iocp::platform {

std::vector<std::string> backends() { return {"uring", "epoll"}; }

std::size_t open_descriptors() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        (void)entry;
        ++count;
    }
    return count;
}

bool socket_pair(Handle& one, Handle& other) {
    std::array<int, 2> fds{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
        return false;
    }
    one = fds[0];
    other = fds[1];
    return true;
}

Handle duplicate(Handle handle) { return ::fcntl(static_cast<int>(handle), F_DUPFD_CLOEXEC, 0); }

void close_handle(Handle handle) { (void)::close(static_cast<int>(handle)); }

Handle make_file(const std::vector<std::byte>& bytes) {
    const int fd = ::memfd_create("iocp_tests", MFD_CLOEXEC);
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    return written == static_cast<ssize_t>(bytes.size()) ? fd : no_handle;
}

void cut_file(Handle file, std::size_t length) {
    (void)!::ftruncate(static_cast<int>(file), static_cast<off_t>(length));
}

void close_file(Handle file) { close_handle(file); }

bool connects_again() { return true; }

bool set_nonblocking(Handle handle) {
    const int fd = static_cast<int>(handle);
    return ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

bool is_nonblocking(Handle handle) {
    return (::fcntl(static_cast<int>(handle), F_GETFL) & O_NONBLOCK) != 0;
}

bool is_reset(int code) { return code == ECONNRESET; }

bool is_refused(int code) { return code == ECONNREFUSED; }

bool is_bounce(int code) { return code == ECONNREFUSED; }

const char* deaf_after_bounce() { return nullptr; }

bool is_too_long(int code) { return code == EMSGSIZE; }

const int type_datagram = SOCK_DGRAM;
const int flag_wait_all = MSG_WAITALL;
const int flag_peek = MSG_PEEK;
const int flag_truncated = MSG_TRUNC;
const int level_socket = SOL_SOCKET;
const int option_send_buffer = SO_SNDBUF;
const int option_receive_buffer = SO_RCVBUF;

}  // namespace iocp::platform

#endif
