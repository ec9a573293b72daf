#include "base/process.hpp"

#include <pthread.h>
#include <unistd.h>

namespace iocp {

std::atomic<std::uint32_t> forks{0};

namespace {

// One counter serves the whole process, because a fork affects every port at once.
[[maybe_unused]] const int counts_forks =
    ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::size_t system_page_size() noexcept {
    static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

}  // namespace iocp
