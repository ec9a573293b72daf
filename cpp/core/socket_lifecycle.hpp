#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "core/accepting.hpp"
#include "core/cancels.hpp"
#include "core/port_options.hpp"

namespace iocp {

// Ends sockets: cancels their operations by id, takes the packets of all requests, and then closes
// the descriptor. In this order no event of a closed descriptor can reach the next socket that gets
// its number.
class SocketLifecycle {
public:
    SocketLifecycle(const PortOptions& options, SocketBackend& backend, Calls& calls,
                    Sockets& sockets, Cancels& cancels, Accepting& accepting,
                    CompletionQueue& completions, Timers& timers, Metrics& metrics, Worklist& work)
        : options_(options),
          backend_(backend),
          calls_(calls),
          sockets_(sockets),
          cancels_(cancels),
          accepting_(accepting),
          completions_(completions),
          timers_(timers),
          metrics_(metrics),
          work_(work) {}

    // Closes the socket after its queued sends, which may go on until `timeout` nanoseconds pass
    // without progress (negative: the port's default). Then cancels the socket's operations, takes
    // their packets, and closes the descriptor.
    void close(Socket& socket, std::int64_t timeout) noexcept;
    // Closes the socket without waiting for its sends. If data is left to send, the connection is
    // reset.
    void end_now(Socket& socket) noexcept;
    // Closes the socket and resets its connection.
    void abort(Socket& socket) noexcept;
    // Makes an error leave the socket's descriptor open, until close() or abort(). The record
    // `ended` then reports the end of the socket.
    static void keep_open(Socket& socket) noexcept { socket.keeps_open = true; }
    // Cancels the socket's operations and takes their packets. The descriptor stays open, because
    // it goes back to the caller.
    void detach(Socket& socket) noexcept;
    Error shutdown(Socket& socket, bool receiving, bool sending);

    // Notes that the application has the accepted socket, so that the socket's end may be handed
    // out too.
    void claim(Socket& accepted) noexcept;
    // Closes an accepted socket that the application does not take.
    void refuse(Socket& accepted) noexcept;

    // Apply the effects of the same names (effects.hpp); after_sends() applies sends_moved.
    void fail(Socket& socket) noexcept;
    void fail_sending(Socket& socket) noexcept { cancels_.cancel_lane(socket.sending); }
    void after_sends(Socket& socket);
    void settle(Socket& socket);
    void hand_out(Socket& socket) noexcept;
    // Returns whether a closing socket must free its address, or give its descriptor back, before
    // close() returns.
    [[nodiscard]] bool wants_address(const Socket& socket) const noexcept {
        return !sockets_.closing() && socket.state == SocketState::cancelling &&
               socket.ends_at_once();
    }

    // Handle a timer: check_drain() that of a close, check_idle() that of the idle timeout.
    void check_drain(Socket& socket) noexcept;
    void check_idle(Socket& socket) noexcept;

private:
    // The progress of a socket that closes after its sends.
    struct Drain {
        std::int64_t timeout;                    // nanoseconds that may pass without progress
        std::int64_t since;                      // the time of the last progress
        std::array<std::uint64_t, 3> reached{};  // counters; any progress changes one of them
    };

    void let_go(Socket& socket) noexcept;
    void report_end(Socket& socket) noexcept;
    void begin_drain(Socket& socket, std::int64_t timeout) noexcept;
    void shorten_drain(Socket& socket, std::int64_t timeout) noexcept;
    bool note_drained(Socket& socket) noexcept;
    void watch_drain(Socket& socket) noexcept;
    [[nodiscard]] bool spent(Socket& socket);
    void begin_cancel(Socket& socket) noexcept;

    const PortOptions& options_;
    SocketBackend& backend_;
    Calls& calls_;
    Sockets& sockets_;
    Cancels& cancels_;
    Accepting& accepting_;
    CompletionQueue& completions_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    // Sockets that close after their sends, by slot.
    std::unordered_map<std::uint32_t, Drain> drains_;
};

}  // namespace iocp
