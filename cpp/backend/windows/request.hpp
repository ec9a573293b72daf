#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/windows/winsock.hpp"
#include "core/socket.hpp"

namespace iocp {

// What AFD, the socket layer of Windows, is asked and answers: its input and output alike.
struct AfdPoll {
    LARGE_INTEGER timeout;
    ULONG count;
    ULONG exclusive;
    HANDLE socket;
    ULONG events;
    LONG status;
};

// What AcceptEx writes: the two addresses, each with the 16 bytes more that it asks for.
struct AcceptAddresses {
    static constexpr DWORD each = sizeof(sockaddr_storage) + 16;
    alignas(8) std::array<std::byte, std::size_t{2} * each> bytes;
};

// One request in the kernel. The kernel owns `overlapped` from the start to the packet, so the
// request lives in the pool and outlasts whoever asked for it.
struct Request {
    OVERLAPPED overlapped{};  // first: a packet's OVERLAPPED is its request
    SlotId socket;
    SlotId operation;
    Kind kind{Kind::receive};
    bool looking{false};          // holds no memory: readiness is its whole result
    bool answered{false};         // its result is known; only its packet is to come
    bool announced{false};        // a packet of ours tells of its end, behind any of the system's
    Handle accepting{no_handle};  // AcceptEx: the socket that becomes the connection
    std::unique_ptr<AcceptAddresses> addresses;  // AcceptEx
    std::unique_ptr<AfdPoll> poll;               // waiting for room
    Request* next{nullptr};                      // in the pool's free list or the listener's list
};

// Requests by address: none is freed before the port handle is closed.
class RequestPool {
public:
    // Null without memory.
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
