#include "backend/linux/wake_event.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace iocp {

WakeEvent::~WakeEvent() {
    if (fd_ >= 0) {
        (void)::close(fd_);
    }
}

int WakeEvent::open() noexcept {
    fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd_ < 0 ? errno : 0;
}

void WakeEvent::set() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);
}

void WakeEvent::clear() noexcept {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
}

}  // namespace iocp
