#include "backend/windows/stream_end.hpp"

#include "backend/windows/call.hpp"

namespace iocp {

bool at_end(SOCKET socket) noexcept {
    char byte = 0;
    return ::recv(socket, &byte, 1, MSG_PEEK) == 0;
}

bool was_reset(SOCKET socket) noexcept {
    WSAPOLLFD entry{socket, POLLRDNORM, 0};
    return ::WSAPoll(&entry, 1, 0) > 0 && (entry.revents & POLLERR) != 0;
}

StartResult checked(const Socket& socket, const StartResult& result) noexcept {
    const bool end = socket.stream && result.start == Start::done && result.value == 0;
    return end && was_reset(socket_of(socket)) ? failed(WSAECONNRESET) : result;
}

}  // namespace iocp
