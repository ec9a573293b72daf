// Replacements of the system calls that a test can make fail. This file must not include a header
// that declares those calls, because the declarations would differ.
#ifdef __linux__

#include "system_calls_linux.hpp"

#include <dlfcn.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstring>
#include <initializer_list>

#include "backend/linux/uring_abi.hpp"

namespace iocp::system_calls {

namespace {

thread_local bool counting = false;
const char* wanted_name = nullptr;
unsigned wanted_place = 0;
unsigned wanted_way = 0;
Seen seen;

// Returns whether to refuse this call, and sets errno if so. `ways` are the errors of the call.
bool refuses(const char* name, std::initializer_list<int> ways) {
    if (!counting) {
        return false;
    }
    ++seen.calls;
    const bool wanted =
        wanted_name != nullptr ? std::strcmp(name, wanted_name) == 0 : seen.calls == wanted_place;
    if (!wanted || wanted_way >= ways.size()) {
        return false;
    }
    seen.name = name;
    seen.refused = true;
    seen.more_ways = wanted_way + 1 < ways.size();
    seen.code = ways.begin()[wanted_way];
    errno = seen.code;
    return true;
}

template <class Function>
Function* original(Function* /*replacement*/, const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// An io_uring, as its io_uring_setup(2) and mmap(2) calls have shown it.
struct SeenRing {
    int fd{-1};
    uring::Params params{};
    std::byte* memory{nullptr};
    uring::Sqe* entries{nullptr};
    std::uint32_t looked_at{0};

    [[nodiscard]] std::uint32_t word(std::uint32_t offset) const {
        return *reinterpret_cast<volatile std::uint32_t*>(memory + offset);
    }
};
// The rings that this thread has made, while its calls were counted, since its latest refuse_one().
thread_local std::array<SeenRing, 8> rings;

SeenRing* ring_of(int fd) {
    if (!counting) {
        return nullptr;
    }
    for (SeenRing& ring : rings) {
        if (ring.fd == fd) {
            return &ring;
        }
    }
    return nullptr;
}

bool refuses_request(const uring::Sqe& entry) {
    switch (entry.opcode) {
        case uring::op_recv:
        case uring::op_recvmsg:
            return refuses("request: receive", {ECONNRESET, ENOMEM, ETIMEDOUT});
        case uring::op_send:
        case uring::op_sendmsg:
        case uring::op_send_zc:
        case uring::op_sendmsg_zc:
            return refuses("request: send", {EPIPE, ECONNRESET, ENOBUFS, ENOMEM});
        case uring::op_poll_add:
            return refuses("request: poll", {ENOMEM});
        default:
            // Cancels are never refused: a cancel that the kernel fails has still found its
            // request.
            return false;
    }
}

// Turns each request to refuse into one that does nothing and ends with the error (IORING_OP_NOP
// with IORING_NOP_INJECT_RESULT). Kernels before 6.10 answer EINVAL, which is an error as well.
void refuse_requests(SeenRing& ring) {
    const std::uint32_t tail = ring.word(ring.params.sq_off.tail);
    for (; ring.looked_at != tail; ++ring.looked_at) {
        std::uint32_t index = ring.looked_at & ring.word(ring.params.sq_off.ring_mask);
        if ((ring.params.flags & uring::setup_no_sqarray) == 0) {
            index = ring.word(ring.params.sq_off.array + 4 * index);
        }
        uring::Sqe& entry = ring.entries[index];
        if (refuses_request(entry)) {
            const std::uint64_t user_data = entry.user_data;
            entry = {};
            entry.user_data = user_data;
            entry.op_flags = 1;
            entry.len = static_cast<std::uint32_t>(-errno);
        }
    }
}

}  // namespace

void refuse_every(const char* name, unsigned way) {
    wanted_name = name;
    wanted_way = way;
    seen = {};
    counting = true;
}

void refuse_one(unsigned place, unsigned way) {
    wanted_place = place;
    wanted_name = nullptr;
    wanted_way = way;
    seen = {};
    rings = {};
    counting = true;
}

Seen all_again() {
    counting = false;
    return seen;
}

}  // namespace iocp::system_calls

namespace calls = iocp::system_calls;
using iocp::system_calls::original;
using iocp::system_calls::refuses;

extern "C" {

int socket(int family, int type, int protocol) {
    static const auto real = original(&socket, "socket");
    return refuses("socket", {EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES})
               ? -1
               : real(family, type, protocol);
}

int bind(int fd, const void* address, unsigned length) {
    static const auto real = original(&bind, "bind");
    return refuses("bind", {EADDRINUSE, EACCES, ENOMEM}) ? -1 : real(fd, address, length);
}

int listen(int fd, int backlog) {
    static const auto real = original(&listen, "listen");
    return refuses("listen", {EADDRINUSE}) ? -1 : real(fd, backlog);
}

int accept4(int fd, void* address, unsigned* length, int flags) {
    static const auto real = original(&accept4, "accept4");
    return refuses("accept4", {ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM})
               ? -1
               : real(fd, address, length, flags);
}

int connect(int fd, const void* address, unsigned length) {
    static const auto real = original(&connect, "connect");
    return refuses("connect", {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL, EACCES, EAGAIN})
               ? -1
               : real(fd, address, length);
}

int getsockname(int fd, void* address, unsigned* length) {
    static const auto real = original(&getsockname, "getsockname");
    return refuses("getsockname", {ENOBUFS}) ? -1 : real(fd, address, length);
}

int getpeername(int fd, void* address, unsigned* length) {
    static const auto real = original(&getpeername, "getpeername");
    return refuses("getpeername", {ENOBUFS, ENOTCONN}) ? -1 : real(fd, address, length);
}

int getsockopt(int fd, int level, int option, void* value, unsigned* length) {
    static const auto real = original(&getsockopt, "getsockopt");
    return refuses("getsockopt", {ENOPROTOOPT, ENOMEM}) ? -1
                                                        : real(fd, level, option, value, length);
}

int setsockopt(int fd, int level, int option, const void* value, unsigned length) {
    static const auto real = original(&setsockopt, "setsockopt");
    return refuses("setsockopt", {ENOPROTOOPT, ENOMEM}) ? -1
                                                        : real(fd, level, option, value, length);
}

int shutdown(int fd, int how) {
    static const auto real = original(&shutdown, "shutdown");
    return refuses("shutdown", {ENOTCONN}) ? -1 : real(fd, how);
}

long recv(int fd, void* data, std::size_t length, int flags) {
    static const auto real = original(&recv, "recv");
    return refuses("recv", {EINTR, ECONNRESET, ENOMEM, ETIMEDOUT}) ? -1
                                                                   : real(fd, data, length, flags);
}

long recvmsg(int fd, void* message, int flags) {
    static const auto real = original(&recvmsg, "recvmsg");
    return refuses("recvmsg", {EINTR, ECONNRESET, ENOMEM, ETIMEDOUT}) ? -1
                                                                      : real(fd, message, flags);
}

long send(int fd, const void* data, std::size_t length, int flags) {
    static const auto real = original(&send, "send");
    return refuses("send", {EINTR, EPIPE, ECONNRESET, ENOBUFS, ENOMEM})
               ? -1
               : real(fd, data, length, flags);
}

long sendmsg(int fd, const void* message, int flags) {
    static const auto real = original(&sendmsg, "sendmsg");
    return refuses("sendmsg", {EINTR, EPIPE, ECONNRESET, ENOBUFS, ENOMEM})
               ? -1
               : real(fd, message, flags);
}

int poll(void* entries, unsigned long count, int timeout) {
    static const auto real = original(&poll, "poll");
    return refuses("poll", {EINTR, ENOMEM}) ? -1 : real(entries, count, timeout);
}

int epoll_create1(int flags) {
    static const auto real = original(&epoll_create1, "epoll_create1");
    return refuses("epoll_create1", {EMFILE, ENFILE, ENOMEM}) ? -1 : real(flags);
}

int epoll_ctl(int fd, int operation, int target, void* event) {
    static const auto real = original(&epoll_ctl, "epoll_ctl");
    constexpr int add = 1;
    return operation == add && refuses("epoll_ctl", {ENOMEM, ENOSPC})
               ? -1
               : real(fd, operation, target, event);
}

int epoll_wait(int fd, void* events, int count, int timeout) {
    static const auto real = original(&epoll_wait, "epoll_wait");
    return refuses("epoll_wait", {EINTR}) ? -1 : real(fd, events, count, timeout);
}

int eventfd(unsigned value, int flags) {
    static const auto real = original(&eventfd, "eventfd");
    return refuses("eventfd", {EMFILE, ENFILE, ENOMEM}) ? -1 : real(value, flags);
}

// close(2) releases the descriptor even if it fails. So the replacement closes it in any case.
int close(int fd) {
    static const auto real = original(&close, "close");
    if (calls::SeenRing* ring = calls::ring_of(fd); ring != nullptr) {
        *ring = {};
    }
    const int result = real(fd);
    return refuses("close", {EINTR, EIO}) ? -1 : result;
}

int fcntl(int fd, int command, ...) {
    static const auto real = original(&fcntl, "fcntl");
    std::va_list rest;
    va_start(rest, command);
    const long argument = va_arg(rest, long);
    va_end(rest);
    constexpr int set_flags = 4;
    return command == set_flags && refuses("fcntl", {EPERM}) ? -1 : real(fd, command, argument);
}

void* mmap(void* where, std::size_t length, int protection, int flags, int fd, long offset) {
    static const auto real = original(&mmap, "mmap");
    if (fd >= 0 && refuses("mmap", {ENOMEM, EAGAIN})) {
        return reinterpret_cast<void*>(-1);
    }
    void* memory = real(where, length, protection, flags, fd, offset);
    if (calls::SeenRing* ring = fd < 0 ? nullptr : calls::ring_of(fd); ring != nullptr) {
        if (static_cast<std::uint64_t>(offset) == iocp::uring::offset_sqes) {
            ring->entries = static_cast<iocp::uring::Sqe*>(memory);
        } else {
            ring->memory = static_cast<std::byte*>(memory);
        }
    }
    return memory;
}

// The backends call io_uring and epoll_pwait2(2) by number, because older C libraries have no
// functions for them.
long syscall(long number, ...) {
    static const auto real = original(&syscall, "syscall");
    std::array<long, 6> given{};
    std::va_list rest;
    va_start(rest, number);
    for (long& argument : given) {
        argument = va_arg(rest, long);
    }
    va_end(rest);
    const auto call = [&] {
        return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
    };
    constexpr long epoll_pwait2 = 441;
    if (number == epoll_pwait2) {
        return refuses("epoll_pwait2", {EINTR}) ? -1 : call();
    }
    if (number == iocp::uring::sys_setup) {
        if (refuses("io_uring_setup", {ENOMEM, EPERM, ENOSYS, EMFILE})) {
            return -1;
        }
        const long fd = call();
        calls::SeenRing* free = calls::ring_of(-1);
        if (fd >= 0 && free != nullptr) {
            *free = {};
            free->fd = static_cast<int>(fd);
            free->params = *reinterpret_cast<iocp::uring::Params*>(given[1]);
        }
        return fd;
    }
    if (number == iocp::uring::sys_register) {
        return refuses("io_uring_register", {ENOMEM, EINVAL}) ? -1 : call();
    }
    if (number == iocp::uring::sys_enter) {
        if (refuses("io_uring_enter", {EINTR, EAGAIN, EBUSY, ENOMEM})) {
            return -1;
        }
        calls::SeenRing* ring = calls::ring_of(static_cast<int>(given[0]));
        if (ring != nullptr && ring->entries != nullptr) {
            calls::refuse_requests(*ring);
        }
        return call();
    }
    return call();
}

}  // extern "C"

#endif
