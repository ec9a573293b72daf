#pragma once

#include <fcntl.h>

#include <cerrno>

#include "backend/backend.hpp"

// What every call here is made with, and how its failure is told.
namespace iocp {

inline int fd_of(const Socket& socket) noexcept { return static_cast<int>(socket.handle); }

inline StartResult failed(int code) noexcept { return {Start::failed, code}; }

// A signal never ends a call that does not wait: it is made again.
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

// The open file does not wait for the one call that has no flag to say so, and is then as it was:
// its mode belongs to every holder of it.
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
