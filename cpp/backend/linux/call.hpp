#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "backend/backend.hpp"

// Helpers for the system calls of the Linux backends, and the result of a failed call.
namespace iocp {

inline int fd_of(const Socket& socket) noexcept { return static_cast<int>(socket.handle); }

inline bool is_internet(const Socket& socket) noexcept {
    return socket.family == AF_INET || socket.family == AF_INET6;
}

inline StartResult failed(int code) noexcept { return {Start::failed, code}; }

// Makes a system call, and makes it again as long as a signal interrupts it (EINTR).
template <class Call>
auto retry(Call&& call) noexcept {
    auto result = call();
    while (result < 0 && errno == EINTR) {
        result = call();
    }
    return result;
}

inline bool set_nonblocking(int fd, bool on) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 &&
           ::fcntl(fd, F_SETFL, on ? (flags | O_NONBLOCK) : (flags & ~O_NONBLOCK)) == 0;
}

// Makes an open file non-blocking for one call that has no flag such as MSG_DONTWAIT. Restores the
// mode afterwards, because every holder of the open file shares it.
class Nonblocking {
public:
    explicit Nonblocking(int fd) noexcept : fd_(fd), found_(::fcntl(fd, F_GETFL)) {
        if (changes()) {
            (void)::fcntl(fd_, F_SETFL, found_ | O_NONBLOCK);
        }
    }
    ~Nonblocking() {
        if (changes()) {
            (void)::fcntl(fd_, F_SETFL, found_);
        }
    }
    Nonblocking(const Nonblocking&) = delete;
    Nonblocking& operator=(const Nonblocking&) = delete;

private:
    [[nodiscard]] bool changes() const noexcept {
        return found_ >= 0 && (found_ & O_NONBLOCK) == 0;
    }

    int fd_;
    int found_;
};

}  // namespace iocp
