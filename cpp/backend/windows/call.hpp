#pragma once

#include <array>
#include <cstddef>

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"
#include "backend/windows/winsock_error.hpp"

// What every call of Winsock here is made with, and how its failure is told.
namespace iocp {

inline SOCKET socket_of(const Socket& socket) noexcept {
    return static_cast<SOCKET>(socket.handle);
}

inline int last_error() noexcept {
    return winsock_code(static_cast<unsigned long>(::WSAGetLastError()));
}

inline StartResult failed(int code) noexcept { return {Start::failed, code}; }

// What a call without an OVERLAPPED came to.
inline StartResult came_to(int returned, DWORD bytes, bool stream) noexcept {
    if (returned == 0) {
        return {Start::done, static_cast<std::int64_t>(bytes)};
    }
    const int code = code_of_socket(last_error(), stream);
    return code == WSAEWOULDBLOCK ? StartResult{} : failed(code);
}

// The same of a receive: after a shutdown there is nothing, for good.
inline StartResult received(int returned, DWORD bytes, bool stream) noexcept {
    const StartResult result = came_to(returned, bytes, stream);
    return result.start == Start::failed && result.value == WSAESHUTDOWN
               ? StartResult{Start::done, 0}
               : result;
}

// A datagram that was longer than its room: taken, and cut.
inline StartResult cut(std::size_t room) noexcept {
    return {Start::done, static_cast<std::int64_t>(room), no_handle, MSG_TRUNC};
}

// The buffers of one call, as many as it takes.
class Parts {
public:
    // What is still to go of an operation; false when not all of it has found room.
    bool add(const Operation& op) {
        return op.each_part([this](std::byte* data, std::size_t length) {
            if (count_ == parts_.size()) {
                return false;
            }
            add(data, length);
            return true;
        });
    }
    // The same of `count` operations of a lane; they end where the room does.
    void add(const Operation& op, unsigned count) {
        const Operation* at = &op;
        for (unsigned i = 0; i < count && add(*at); ++i) {
            at = at->next;
        }
    }
    // Room for one more is the caller's to see to.
    void add(std::byte* data, std::size_t length) noexcept {
        constexpr std::size_t most_bytes = std::size_t{1} << 30U;
        parts_[count_++] = {static_cast<ULONG>(length < most_bytes ? length : most_bytes),
                            reinterpret_cast<char*>(data)};
    }
    // Winsock wants one at least: an empty one where there is nothing.
    WSABUF* data() noexcept {
        if (count_ == 0) {
            add(nullptr, 0);
        }
        return parts_.data();
    }
    [[nodiscard]] DWORD count() const noexcept { return count_; }

private:
    static constexpr std::size_t most = 1024;
    std::array<WSABUF, most> parts_;
    DWORD count_{0};
};

}  // namespace iocp
