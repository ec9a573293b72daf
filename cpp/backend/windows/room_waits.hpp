#pragma once

#include "backend/windows/completion_port.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// Waits for room to send. Each wait polls AFD, the socket layer of Windows, as select() does,
// because Microsoft does not document that a zero-byte WSASend waits for room.
class RoomWaits {
public:
    RoomWaits(const Winsock& winsock, const CompletionPort& port) noexcept
        : winsock_(winsock), port_(port) {}
    ~RoomWaits();
    RoomWaits(const RoomWaits&) = delete;
    RoomWaits& operator=(const RoomWaits&) = delete;

    // Opens AFD, unless it is open. Returns an error of Winsock, or 0.
    [[nodiscard]] int open() noexcept;
    // Starts a wait. Its packet follows even if the wait ends at once; after an error no packet
    // follows. Precondition: open() has succeeded.
    [[nodiscard]] int start(SOCKET socket, Request& request) noexcept;
    void cancel(Request& request) const noexcept;
    // Returns the error of the wait itself, or 0. An error of the socket counts as room: the
    // following send returns it.
    [[nodiscard]] static int failure_of(const Request& request) noexcept;

private:
    const Winsock& winsock_;
    const CompletionPort& port_;
    HANDLE afd_{INVALID_HANDLE_VALUE};
};

}  // namespace iocp
