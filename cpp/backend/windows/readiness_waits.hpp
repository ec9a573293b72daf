#pragma once

#include "backend/windows/completion_port.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// Waits for the readiness of sockets. They ask AFD, the socket layer of Windows, as select() does:
// Microsoft's text does not promise that a zero-byte WSASend waits, and a socket that is only
// watched must not join the port.
class ReadinessWaits {
public:
    ReadinessWaits(const Winsock& winsock, const CompletionPort& port) noexcept
        : winsock_(winsock), port_(port) {}
    ~ReadinessWaits();
    ReadinessWaits(const ReadinessWaits&) = delete;
    ReadinessWaits& operator=(const ReadinessWaits&) = delete;

    // Opens AFD for the first wait. Returns an error of Winsock, or 0.
    [[nodiscard]] int open() noexcept;
    // Starts a wait for something to read, or for room to send. Its packet follows, answered at
    // once or not. After an error none follows. Precondition: open().
    [[nodiscard]] int start(SOCKET socket, bool for_room, Request& request) noexcept;
    void cancel(Request& request) const noexcept;
    // Returns the failure of the wait itself, also if the caller has closed a socket that it lent.
    // An error of the socket counts as readiness: the following call returns it.
    [[nodiscard]] static int failure_of(const Request& request) noexcept;

private:
    const Winsock& winsock_;
    const CompletionPort& port_;
    HANDLE afd_{INVALID_HANDLE_VALUE};
};

}  // namespace iocp
