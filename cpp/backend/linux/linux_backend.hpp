#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "backend/linux/bound_paths.hpp"

namespace iocp {

// Everything about sockets that epoll and io_uring share: calls that never wait.
class LinuxBackend : public Backend {
public:
    int open(int family, int type, int protocol, Handle& out) override;
    int describe(Handle handle, Socket& out) override;
    int bind(Socket& socket, const Address& address) override;
    int listen(Socket& socket, int backlog) override;
    int name_of(const Socket& socket, bool peer, Address& out) override;
    int get_option(const Socket& socket, int level, int option, void* value,
                   std::size_t& length) override;
    int set_option(const Socket& socket, int level, int option, const void* value,
                   std::size_t length) override;
    [[nodiscard]] Nagle nagle(const Socket& socket) noexcept override;
    int shutdown(Socket& socket, bool receiving, bool sending) override;
    void reset_on_close(Socket& socket) override;
    void detach(Socket& socket) override;
    void close(Socket& socket) override;

    [[nodiscard]] std::int32_t flags_taken(const Socket& socket,
                                           bool sending) const noexcept override;
    [[nodiscard]] bool fills(std::int32_t flags) const noexcept override;
    int withdraw(Operation& op) override;
    StartResult attempt(Operation& op, unsigned count) override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                          Address& from) override;
    [[nodiscard]] std::uint64_t bytes_taken(const Socket& socket) noexcept override;
    bool drained(Socket& socket) noexcept override;
    std::int64_t available(Socket& socket) override;

    [[nodiscard]] std::int64_t now() const noexcept override;
    [[nodiscard]] bool fatal(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool ends_sending(int code) const noexcept override;
    [[nodiscard]] bool queue_full(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool exhausted(int code) const noexcept override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;
    [[nodiscard]] std::int64_t cancel_code() const noexcept override;
    [[nodiscard]] int memory_code() const noexcept override;

protected:
    // Bits of Socket::backend_bits.
    static constexpr std::uint32_t bit_nonblocking = 1U << 0U;  // O_NONBLOCK was set by us
    static constexpr std::uint32_t bit_watched = 1U << 1U;      // known to epoll
    static constexpr std::uint32_t bit_unreadable = 1U << 2U;   // a read would block: seen
    static constexpr std::uint32_t bit_unwritable = 1U << 3U;   // a write would block: seen
    static constexpr std::uint32_t bit_read_on = 1U << 4U;      // a short read proves nothing

    // Why the system refused what the backend is made of.
    [[nodiscard]] BackendReason refusal(const char* call, int code) const;
    // The caller's flags for a receive. Never MSG_WAITALL: io_uring would wait for the rest itself,
    // run messages of a packet socket together, peek the same bytes twice, and hide the error that
    // came after a part.
    static int receive_flags(const Operation& op) noexcept;
    // Whether it takes something else than what makes the socket readable.
    static bool reads_aside(const Operation& op) noexcept;
    static StartResult poll_now(const Socket& socket, short events);
    static StartResult came_to(Socket& socket, std::int64_t result, std::uint32_t blocked) noexcept;
    static StartResult send_now(Operation& op, unsigned count);
    // Whether nothing would tell of room for it: a poll speaks of the peer of a socket, and it goes
    // to somebody else of AF_UNIX.
    static bool goes_blind(const Operation& op) noexcept;
    // Such a send: refused (EAGAIN) where it would wait.
    static StartResult send_blind(Operation& op);
    static StartResult connect_now(Operation& op);
    static StartResult disconnect_now(Operation& op);
    // Sends a part of the file.
    StartResult send_file_now(Operation& op);

private:
    StartResult copy_file_now(Operation& op);
    static void let_go(Socket& socket) noexcept;
    static int unname_peer(Socket& socket) noexcept;
    static StartResult receive_now(Operation& op);
    static StartResult accept_now(Operation& op);
    static StartResult room_now(Socket& socket);
    static bool sends_no_more(const Socket& socket) noexcept;

    BoundPaths paths_;
    std::unique_ptr<std::byte[]> copied_;  // a part of a file on its way to a socket
};

}  // namespace iocp
