// LinuxBackend: how much of the sent data a peer has taken.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>

#include "backend/linux/linux_backend.hpp"

namespace iocp {

// Returns the bytes that TCP counts as acknowledged. For other sockets returns the bytes that the
// system still holds, which fall as the peer reads. With AF_UNIX they fall only when the peer has
// read a whole buffer of the kernel.
std::uint64_t LinuxBackend::bytes_taken(const Socket& socket) noexcept {
    const int fd = static_cast<int>(socket.handle);
    tcp_info info{};
    socklen_t length = sizeof info;
    constexpr std::size_t needed = offsetof(tcp_info, tcpi_bytes_acked) + sizeof(std::uint64_t);
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && length >= needed) {
        return info.tcpi_bytes_acked;
    }
    int held = 0;
    return ::ioctl(fd, SIOCOUTQ, &held) == 0 ? static_cast<std::uint64_t>(held) : 0;
}

}  // namespace iocp
