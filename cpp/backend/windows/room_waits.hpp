#pragma once

#include "backend/windows/completion_port.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// Waits for room to send. They ask AFD, the socket layer of Windows, as select() does: Microsoft's
// text does not promise that a zero-byte WSASend waits.
class RoomWaits {
public:
    RoomWaits(const Winsock& winsock, const CompletionPort& port) noexcept
        : winsock_(winsock), port_(port) {}
    ~RoomWaits();
    RoomWaits(const RoomWaits&) = delete;
    RoomWaits& operator=(const RoomWaits&) = delete;

    // Opens AFD for the first wait. Returns an error of Winsock, or 0.
    [[nodiscard]] int open() noexcept;
    // Starts a wait, whose packet follows, answered at once or not. After an error none follows.
    // Precondition: open().
    [[nodiscard]] int start(SOCKET socket, Request& request) noexcept;
    void cancel(Request& request) const noexcept;
    // Returns the failure of the wait itself. An error of the socket counts as room: the following
    // send returns it.
    [[nodiscard]] static int failure_of(const Request& request) noexcept;

private:
    const Winsock& winsock_;
    const CompletionPort& port_;
    HANDLE afd_{INVALID_HANDLE_VALUE};
};

}  // namespace iocp
