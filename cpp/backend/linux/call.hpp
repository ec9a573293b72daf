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

}  // namespace iocp
