#include "backend/windows/members.hpp"

#include <utility>

#include "backend/windows/call.hpp"
#include "backend/windows/windows_backend.hpp"

namespace iocp {

namespace {

// Returns whether the socket's provider makes IFS handles.
bool of_the_system(SOCKET socket) noexcept {
    WSAPROTOCOL_INFOW info{};
    int length = sizeof info;
    return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                        &length) == 0 &&
           (info.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
}

}  // namespace

int Members::join(const Socket& socket) {
    if (find(socket.id) != nullptr) {
        return 0;
    }
    const SOCKET handle = socket_of(socket);
    if (members_.size() <= socket.id.slot) {
        members_.resize(socket.id.slot + 64);
    }
    if (!socket.watched &&
        winsock_.attach(handle_of(handle), port_.handle(), socket.id.packed(), 0) == nullptr) {
        return winsock_code(::GetLastError());
    }
    Member& member = members_[socket.id.slot];
    member = {};
    member.socket = handle;
    member.id = socket.id;
    member.stream = socket.stream;
    member.pipe = WindowsBackend::is_pipe(socket);
    if (socket.watched) {
        return 0;
    }
    // Skips packets only where the provider's sockets are system handles: a layer above them would
    // queue its own packets (Microsoft, SetFileCompletionNotificationModes, remarks).
    member.skips =
        (member.pipe || of_the_system(handle)) &&
        winsock_.set_modes(handle_of(handle), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                  FILE_SKIP_SET_EVENT_ON_HANDLE) != FALSE;
    return 0;
}

bool Members::leave(const Socket& socket) noexcept {
    Member* member = find(socket.id);
    if (member == nullptr || member->socket != socket_of(socket)) {
        return false;
    }
    *member = {};
    return true;
}

int Members::take_error(const Socket& socket) noexcept {
    Member* member = find(socket.id);
    return member != nullptr ? std::exchange(member->pending_error, 0) : 0;
}

}  // namespace iocp
