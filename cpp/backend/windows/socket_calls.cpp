#include "backend/windows/socket_calls.hpp"

#include "backend/windows/call.hpp"

namespace iocp {

int set_nonblocking(SOCKET socket, bool on) noexcept {
    u_long value = on ? 1 : 0;
    return ::ioctlsocket(socket, FIONBIO, &value) == 0 ? 0 : last_error();
}

int own(SOCKET socket) noexcept {
    (void)::SetHandleInformation(handle_of(socket), HANDLE_FLAG_INHERIT, 0);
    return set_nonblocking(socket, true);
}

Address peer_of(SOCKET socket) noexcept {
    Address peer{};
    int length = static_cast<int>(peer.bytes.size());
    auto* where = reinterpret_cast<sockaddr*>(peer.bytes.data());
    if (::getpeername(socket, where, &length) == 0) {
        peer.length = static_cast<std::uint32_t>(length);
    }
    return peer;
}

}  // namespace iocp
