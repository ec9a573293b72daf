#include "base/process.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace iocp {

namespace {

std::atomic<std::uint32_t> generation{0};

}  // namespace

// One counter serves the whole process, because a fork affects every port at once.
std::uint32_t fork_generation() noexcept {
    static const int registered = ::pthread_atfork(
        nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });
    (void)registered;
    return generation.load(std::memory_order_relaxed);
}

std::size_t system_page_size() noexcept {
    static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

}  // namespace iocp
