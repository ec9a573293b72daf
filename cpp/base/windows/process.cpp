#include "base/process.hpp"

#include <windows.h>

namespace iocp {

// Windows has no fork.
std::uint32_t fork_generation() noexcept { return 0; }

std::size_t system_page_size() noexcept {
    static const std::size_t size = [] {
        SYSTEM_INFO info{};
        ::GetSystemInfo(&info);
        return static_cast<std::size_t>(info.dwPageSize);
    }();
    return size;
}

}  // namespace iocp
