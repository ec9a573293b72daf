#pragma once

#include <array>
#include <cstddef>

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"
#include "backend/windows/winsock_error.hpp"

// Helpers for Winsock calls, and the results of calls that do not wait.
namespace iocp {

inline SOCKET socket_of(const Socket& socket) noexcept {
    return static_cast<SOCKET>(socket.handle);
}

inline HANDLE handle_of(SOCKET socket) noexcept { return reinterpret_cast<HANDLE>(socket); }

inline int last_error() noexcept {
    return winsock_code(static_cast<unsigned long>(::WSAGetLastError()));
}

inline StartResult failed(int code) noexcept { return {Start::failed, code}; }

// Converts the return value of a call without an OVERLAPPED, which never waits, to a StartResult.
inline StartResult came_to(int returned, DWORD bytes, bool stream) noexcept {
    if (returned == 0) {
        return {Start::done, static_cast<std::int64_t>(bytes)};
    }
    const int code = code_of_socket(last_error(), stream);
    return code == WSAEWOULDBLOCK ? StartResult{} : failed(code);
}

// Converts the return value of a receive without an OVERLAPPED to a StartResult. After a shutdown
// (WSAESHUTDOWN) the result is the end of the stream.
inline StartResult received(int returned, DWORD bytes, bool stream) noexcept {
    const StartResult result = came_to(returned, bytes, stream);
    return result.start == Start::failed && result.value == WSAESHUTDOWN
               ? StartResult{Start::done, 0}
               : result;
}

// Returns the result of a receive whose datagram was longer than the buffer, which has `room`
// bytes. The receive fills the buffer, and the rest of the datagram is lost.
inline StartResult cut(std::size_t room) noexcept {
    return {Start::done, static_cast<std::int64_t>(room), no_handle, MSG_TRUNC};
}

// The array of buffers for one call, with at most `maximum` of them.
class CallBuffers {
public:
    // Adds the parts of an operation that are still to send or fill. Returns false if there was no
    // room for some of them.
    bool add(const Operation& op) {
        return op.each_part([this](std::byte* data, std::size_t length) {
            if (count_ == buffers_.size()) {
                return false;
            }
            add(data, length);
            return true;
        });
    }
    // Adds the parts of `count` operations of a lane, from `op` on, as far as there is room.
    void add(const Operation& op, unsigned count) {
        const Operation* at = &op;
        for (unsigned i = 0; i < count && add(*at); ++i) {
            at = at->next;
        }
    }
    // Adds one part of an operation as a WSABUF. Precondition: there is room.
    void add(std::byte* data, std::size_t length) noexcept {
        constexpr std::size_t max_bytes = std::size_t{1} << 30U;
        buffers_[count_++] = {static_cast<ULONG>(length < max_bytes ? length : max_bytes),
                              reinterpret_cast<char*>(data)};
    }
    // Returns the array of WSABUFs. Winsock needs at least one, so an empty one is added if there
    // is none.
    WSABUF* data() noexcept {
        if (count_ == 0) {
            add(nullptr, 0);
        }
        return buffers_.data();
    }
    [[nodiscard]] DWORD count() const noexcept { return count_; }

private:
    static constexpr std::size_t maximum = 1024;
    std::array<WSABUF, maximum> buffers_;
    DWORD count_{0};
};

}  // namespace iocp
