#include "base/parker.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

namespace iocp {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

Parker::~Parker() = default;

void Parker::wake() noexcept {
    woken_.store(1);
    (void)::syscall(SYS_futex, &woken_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// FUTEX_WAIT takes a relative timeout on the monotonic clock, and a signal ends the wait
// (futex(2)).
void Parker::park(std::int64_t timeout_ns, void* /*interrupt*/) noexcept {
    const timespec time{static_cast<time_t>(timeout_ns / 1'000'000'000),
                        static_cast<long>(timeout_ns % 1'000'000'000)};
    (void)::syscall(SYS_futex, &woken_, FUTEX_WAIT_PRIVATE, 0, &time, nullptr, 0);
}

}  // namespace iocp
