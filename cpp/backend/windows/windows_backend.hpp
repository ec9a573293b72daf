#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"

namespace iocp {

// The socket calls of Windows, none of which waits, its clock, and the meaning of its errors.
class WindowsBackend : public Backend {
public:
    int open(int family, int type, int protocol, Handle& out) override;
    int describe(Handle handle, Socket& out) override;
    int describe_watched(Handle handle, Socket& out) override;
    int describe_object(Handle handle, Socket& out) override;
    int bind(Socket& socket, const Address& address) override;
    int listen(Socket& socket, int backlog) override;
    int name_of(const Socket& socket, bool peer, Address& out) override;
    int get_option(const Socket& socket, int level, int option, void* value,
                   std::size_t& length) override;
    int set_option(const Socket& socket, int level, int option, const void* value,
                   std::size_t length) override;
    [[nodiscard]] Nagle nagle(const Socket& socket) noexcept override;
    bool send_direct(Socket& socket, bool on) override;
    int shutdown(Socket& socket, bool receiving, bool sending) override;
    void reset_on_close(Socket& socket) override;
    void detach(Socket& socket) override;
    void close(Socket& socket) override;

    [[nodiscard]] std::uint64_t bytes_taken(const Socket& socket) noexcept override;
    bool drained(Socket& socket) noexcept override;
    [[nodiscard]] std::int32_t flags_taken(const Socket& socket,
                                           bool sending) const noexcept override;
    [[nodiscard]] bool waits_for_all(std::int32_t flags) const noexcept override;
    std::int64_t available(Socket& socket) override;

    [[nodiscard]] std::int64_t now() const noexcept override;
    [[nodiscard]] std::uint32_t kernel_locked(const Operation& op) const noexcept override;
    [[nodiscard]] bool fatal(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool ends_sending(int code) const noexcept override;
    [[nodiscard]] bool exhausted(int code) const noexcept override;
    [[nodiscard]] std::int64_t cancel_code() const noexcept override;
    [[nodiscard]] int memory_code() const noexcept override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;

    // Returns whether the handle is a pipe's.
    [[nodiscard]] static bool is_pipe(const Socket& socket) noexcept {
        return (socket.backend_bits & bit_pipe) != 0;
    }
    // Returns whether the handle is of another object, which is watched.
    [[nodiscard]] static bool is_object(const Socket& socket) noexcept {
        return (socket.backend_bits & bit_object) != 0;
    }

protected:
    explicit WindowsBackend(const Winsock& winsock) : winsock_(winsock) {}

    const Winsock winsock_;

private:
    static int describe_pipe(Handle handle, Socket& out);

    static constexpr std::uint32_t bit_pipe = 1U << 0U;
    static constexpr std::uint32_t bit_object = 1U << 1U;
};

}  // namespace iocp
