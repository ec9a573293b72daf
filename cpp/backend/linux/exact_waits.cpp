#include "backend/linux/exact_waits.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

namespace iocp {

void ExactWaits::close(int instance) noexcept {
    if (instance >= 0) {
        (void)::close(instance);
    }
}

// The events of epoll have the same numbers as those of poll. epoll reports errors and hang-ups
// even if they are not asked for, but with EPOLLET only once. begin() takes that one report.
int ExactWaits::begin(std::uint64_t name, int fd, std::uint32_t events, bool& stands) {
    int& instance = instances_.try_emplace(name, -1).first->second;
    instance = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = events | EPOLLET;
    if (instance < 0 || ::epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event) != 0) {
        const int code = errno;
        over(name);
        return -code;
    }
    epoll_event there{};
    const bool reported = ::epoll_wait(instance, &there, 1, 0) > 0;
    stands = reported && (there.events & events) == 0;
    if (reported && !stands && ::epoll_ctl(instance, EPOLL_CTL_MOD, fd, &event) != 0) {
        // Without a successful EPOLL_CTL_MOD the requested event would not be reported again.
        const int code = errno;
        over(name);
        return -code;
    }
    return instance;
}

void ExactWaits::over(std::uint64_t name) noexcept {
    if (instances_.empty()) {
        return;
    }
    const auto found = instances_.find(name);
    if (found != instances_.end()) {
        close(found->second);
        instances_.erase(found);
    }
}

void ExactWaits::clear() noexcept {
    for (const auto& [name, instance] : instances_) {
        close(instance);
    }
    instances_.clear();
}

}  // namespace iocp
