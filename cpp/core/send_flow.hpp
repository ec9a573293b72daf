#pragma once

#include <cstddef>
#include <cstdint>

#include "core/completion_queue.hpp"
#include "core/effects.hpp"
#include "core/metrics.hpp"
#include "core/socket_list.hpp"

namespace iocp {

inline constexpr Error send_was_cut = Error::of(Fault::socket_closed,
                                                "an earlier send was cut part-way, so nothing more "
                                                "can be sent on this stream; close the socket");

// Applies each socket's send strategy and marks (R15, R16). For the whole port it counts the bytes
// still to send, keeps the sockets whose sends go out with the next turn, and notices sends that
// Nagle's algorithm stalls (R19).
class SendFlow {
public:
    SendFlow(SocketBackend& backend, CompletionQueue& completions, Metrics& metrics, Worklist& work,
             SlotTable<Socket>& sockets)
        : backend_(backend),
          completions_(completions),
          metrics_(metrics),
          work_(work),
          flushes_(sockets) {}

    Error set_strategy(Socket& socket, SendStrategy strategy);
    // Prepares a post: chooses how it is sent, and checks the socket's cap.
    Error prepare(Operation& op) { return op.from_file ? prepare_file(op) : prepare_send(op); }
    // Count the bytes still to send. accepted() adds those of a post, advance() subtracts those
    // that the lane's first send has sent, and ended() subtracts the rest of a send that has left
    // its lane.
    void accepted(const Operation& op) noexcept { bytes_to_send_ += op.bytes_to_send(); }
    void advance(Lane& lane, std::size_t bytes) noexcept { bytes_to_send_ -= lane.advance(bytes); }
    void ended(const Operation& op) noexcept { bytes_to_send_ -= op.bytes_to_send(); }
    [[nodiscard]] std::uint64_t bytes_to_send() const noexcept { return bytes_to_send_; }

    // Asks the sender to pause or to go on, by the marks of its socket. Pauses and resumes
    // alternate.
    void notify(Socket& socket) noexcept;
    // Notifies the sender to go on, once, when at most `bytes` are left to send. Takes the place of
    // the socket's marks.
    void expect_fall(Socket& socket, std::uint32_t bytes) noexcept {
        socket.marks.high = ~std::uint32_t{0};
        socket.marks.low = bytes;
        socket.send_paused = true;
        work_.add(socket, effect::sends_moved);
    }

    // Copies bytes behind those of the socket's last send, if that send gathers, waits for its
    // flush, and has room. Otherwise it returns false. The charge stays the same: one page.
    [[nodiscard]] bool append(Socket& socket, const std::byte* data, std::size_t length) noexcept;

    // Starts the socket's batched sends when the next turn begins.
    void flush_later(Socket& socket) noexcept { flushes_.add(socket); }
    [[nodiscard]] bool awaits_flush(const Socket& socket) const noexcept {
        return socket.flushes.listed();
    }
    [[nodiscard]] bool any_to_flush() const noexcept { return !flushes_.empty(); }
    // Takes the next socket whose batched sends are to start. Precondition: any_to_flush().
    [[nodiscard]] Socket& next_to_flush() noexcept { return flushes_.take(); }
    // Forgets a socket that is retired, so that it is not flushed.
    void forget(Socket& socket) noexcept { flushes_.remove(socket); }

    // Notes for the Nagle check that the system took `bytes` of the request that begins with `op`.
    // Called before advance() counts them. A send with flags never counts as small, because a
    // caller of MSG_MORE chooses the segments itself.
    void note_send(Socket& socket, const Operation& op, std::size_t bytes) {
        if (!socket.nagle.settled && socket.stream) {
            watch_send(socket, op, bytes);
        }
    }
    // Notes that a receive waits for data on this socket.
    void note_wait(Socket& socket) {
        if (socket.nagle.due()) {
            watch_wait(socket);
        }
    }

private:
    Error prepare_file(Operation& op);
    Error prepare_send(Operation& op);
    void watch_send(Socket& socket, const Operation& op, std::size_t bytes);
    void watch_wait(Socket& socket);

    SocketBackend& backend_;
    CompletionQueue& completions_;
    Metrics& metrics_;
    Worklist& work_;
    SocketList<&Socket::flushes> flushes_;
    std::uint64_t bytes_to_send_{0};  // over all unfinished sends
};

}  // namespace iocp
