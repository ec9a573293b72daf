// The calls of the system that making a port consists of; each can be refused. No header that
// declares them may be seen here.
#ifdef __linux__

#include "system_calls_linux.hpp"

#include <dlfcn.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <initializer_list>

#include "backend/linux/uring_abi.hpp"

namespace iocp::system_calls {

namespace {

thread_local bool counting = false;
unsigned wanted_place = 0;
unsigned wanted_way = 0;
Seen seen;

// Whether this call is the one; errno says with what.
bool refuses(const char* name, std::initializer_list<int> ways) {
    if (!counting || ++seen.calls != wanted_place || wanted_way >= ways.size()) {
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

}  // namespace

void refuse_one(unsigned place, unsigned way) {
    wanted_place = place;
    wanted_way = way;
    seen = {};
    counting = true;
}

Seen all_again() {
    counting = false;
    return seen;
}

}  // namespace iocp::system_calls

using iocp::system_calls::original;
using iocp::system_calls::refuses;

extern "C" {

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

int eventfd(unsigned value, int flags) {
    static const auto real = original(&eventfd, "eventfd");
    return refuses("eventfd", {EMFILE, ENFILE, ENOMEM}) ? -1 : real(value, flags);
}

// The descriptor is gone even so.
int close(int fd) {
    static const auto real = original(&close, "close");
    const int result = real(fd);
    return refuses("close", {EINTR, EIO}) ? -1 : result;
}

void* mmap(void* where, std::size_t length, int protection, int flags, int fd, long offset) {
    static const auto real = original(&mmap, "mmap");
    if (fd >= 0 && refuses("mmap", {ENOMEM, EAGAIN})) {
        return reinterpret_cast<void*>(-1);
    }
    return real(where, length, protection, flags, fd, offset);
}

// io_uring has no function of its own in the C library.
long syscall(long number, ...) {
    static const auto real = original(&syscall, "syscall");
    std::array<long, 6> given{};
    std::va_list rest;
    va_start(rest, number);
    for (long& argument : given) {
        argument = va_arg(rest, long);
    }
    va_end(rest);
    if ((number == iocp::uring::sys_setup &&
         refuses("io_uring_setup", {ENOMEM, EPERM, ENOSYS, EMFILE})) ||
        (number == iocp::uring::sys_register && refuses("io_uring_register", {ENOMEM, EINVAL}))) {
        return -1;
    }
    return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

}  // extern "C"

#endif
