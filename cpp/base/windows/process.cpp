#include "base/process.hpp"

#include <windows.h>

namespace iocp {

std::atomic<std::uint32_t> forks{0};  // Windows has no fork

std::size_t system_page_size() noexcept {
    static const std::size_t size = [] {
        SYSTEM_INFO info{};
        ::GetSystemInfo(&info);
        return static_cast<std::size_t>(info.dwPageSize);
    }();
    return size;
}

}  // namespace iocp
