#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "backend/linux/bound_paths.hpp"
#include "backend/linux/wake_event.hpp"

namespace iocp {

// The socket calls that the epoll and io_uring backends share. None of the calls blocks.
class LinuxBackend : public Backend {
public:
    int open(int family, int type, int protocol, Handle& out) override;
    int describe(Handle handle, Socket& out) override;
    int describe_watched(Handle handle, Socket& out) override;
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
    [[nodiscard]] bool waits_for_all(std::int32_t flags) const noexcept override;
    int withdraw(Operation& op) override;
    StartResult attempt(Operation& op, unsigned count) override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                          Address& from) override;
    [[nodiscard]] std::uint64_t bytes_taken(const Socket& socket) noexcept override;
    bool drained(Socket& socket) noexcept override;
    std::int64_t available(Socket& socket) override;

    [[nodiscard]] std::int64_t now() const noexcept override;
    void wake() noexcept override { wake_.set(); }
    [[nodiscard]] bool fatal(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool ends_sending(int code) const noexcept override;
    [[nodiscard]] bool queue_full(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool exhausted(int code) const noexcept override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;
    [[nodiscard]] std::int64_t cancel_code() const noexcept override;
    [[nodiscard]] int memory_code() const noexcept override;

protected:
    // Bits of Socket::backend_bits. The bits from 8 on belong to the io_uring backend.
    static constexpr std::uint32_t bit_nonblocking = 1U << 0U;  // the library has set O_NONBLOCK
    static constexpr std::uint32_t bit_watched = 1U << 1U;      // registered with epoll
    static constexpr std::uint32_t bit_unreadable = 1U << 2U;   // a read has found no data
    static constexpr std::uint32_t bit_unwritable = 1U << 3U;   // a write has found no room
    // An event has reported urgent data, an error or the end of the stream: a short read then does
    // not prove that the socket is empty.
    static constexpr std::uint32_t bit_read_on = 1U << 4U;

    // Returns the reason of a refusal: a call that the backend needs failed with this error number.
    [[nodiscard]] BackendReason refusal(const char* call, int code) const;
    // Returns the flags of a receive: the caller's without MSG_WAITALL, and MSG_CMSG_CLOEXEC. With
    // MSG_WAITALL io_uring would wait for the missing bytes by itself, and hide an error that
    // follows the first ones. It would also join messages of a SOCK_SEQPACKET socket, and peek the
    // same bytes twice.
    static int receive_flags(const Operation& op) noexcept;
    // Returns whether the receive asks for urgent data or queued errors, neither of which makes the
    // socket readable.
    static bool reads_notified(const Operation& op) noexcept;
    static StartResult poll_now(const Socket& socket, short events);
    static StartResult came_to(Socket& socket, std::int64_t result, std::uint32_t blocked) noexcept;
    static StartResult send_now(Operation& op, unsigned count);
    // Returns whether no event would report room for the send, because it is an AF_UNIX datagram
    // with a destination address. A poll reports only on the peer that the socket is connected to.
    static bool goes_blind(const Operation& op) noexcept;
    // Makes a send for which goes_blind() is true. A send that would block fails with EAGAIN
    // instead of waiting for an event.
    static StartResult send_blind(Operation& op);
    static StartResult connect_now(Operation& op);
    static StartResult disconnect_now(Operation& op);
    // Sends the next part of the operation's file.
    StartResult send_file_now(Operation& op);

    WakeEvent wake_;  // every wait polls its descriptor

private:
    StartResult copy_file_now(Operation& op);
    static void let_go(Socket& socket) noexcept;
    static int unname_peer(Socket& socket) noexcept;
    static StartResult receive_now(Operation& op);
    static StartResult accept_now(Operation& op);
    static StartResult room_now(Socket& socket);
    static bool sends_no_more(const Socket& socket) noexcept;

    BoundPaths paths_;
    std::unique_ptr<std::byte[]> copied_;  // the part of a file that is being copied to a socket
};

}  // namespace iocp
