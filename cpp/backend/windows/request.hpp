#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/windows/object_wait.hpp"
#include "backend/windows/winsock.hpp"
#include "ops/socket.hpp"

namespace iocp {

// The input and output of a poll by AFD, the socket layer of Windows.
struct AfdPoll {
    LARGE_INTEGER timeout;
    ULONG count;
    ULONG exclusive;
    HANDLE socket;
    ULONG events;
    LONG status;
};

// The output of AcceptEx: two addresses, each with the 16 extra bytes that AcceptEx needs.
struct AcceptAddresses {
    static constexpr DWORD each = sizeof(sockaddr_storage) + 16;
    alignas(8) std::array<std::byte, std::size_t{2} * each> bytes;
};

// One request in the kernel. The kernel owns `overlapped` from the start to the packet. So the
// request lives in the pool and outlives its operation.
struct Request {
    OVERLAPPED overlapped{};  // first, because a packet's OVERLAPPED is its request
    SlotId socket;
    SlotId operation;
    OperationKind kind{OperationKind::receive};
    bool readiness_only{false};   // a readiness wait, without memory
    bool answered{false};         // its result is known; only its packet follows
    bool cancelled{false};        // counted in the backend's open cancels, until its packet
    bool announced{false};        // a packet posted by the backend reports its end
    Handle accepting{no_handle};  // AcceptEx: the socket that becomes the connection
    std::unique_ptr<AcceptAddresses> addresses;  // AcceptEx
    std::unique_ptr<AfdPoll> poll;               // of a wait that AFD answers
    std::unique_ptr<ObjectWait> object;          // of a wait for an object
    Request* next{nullptr};                      // in the pool's free list or the listener's list
};

// Returns the error of a request whose packet has come, or 0.
int failure_of(SOCKET socket, Request& request) noexcept;
// Returns whether the packet of a send arrived before the send ended. Wine 8.0 queues such a packet
// when the posting thread ends, and does not report how many bytes were sent. So no later send of
// the stream may follow.
bool lost_with_its_thread(const Request& request) noexcept;

// A pool of requests with stable addresses. No request is freed before the handle of the completion
// port is closed.
class RequestPool {
public:
    // Returns an unused request, or null if memory runs out.
    Request* take() noexcept;
    void give_back(Request& request) noexcept;
    [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

private:
    static constexpr std::size_t chunk = 64;
    std::vector<std::unique_ptr<std::array<Request, chunk>>> chunks_;
    Request* free_{nullptr};
    std::size_t taken_{0};
};

}  // namespace iocp
