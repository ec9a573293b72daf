#pragma once

#include <cassert>
#include <utility>

#include "base/error.hpp"
#include "core/socket_list.hpp"
#include "ops/socket.hpp"

namespace iocp {

// Work that a step leaves to be done at a socket. A step handles one call of the application, one
// operation, one packet or one timer. A part of the port calls no part that is built on it: it adds
// effects instead, and Turn applies them when the step is over. At one socket the effect with the
// lowest bit is applied first, whatever the order in which they were added.
namespace effect {
inline constexpr Effects fail = 1U << 0U;          // Socket::failure ends the socket
inline constexpr Effects fail_sending = 1U << 1U;  // Socket::failure ends the socket's sends
// The receiving lane may have an operation to start.
inline constexpr Effects start_receiving = 1U << 2U;
// The sending lane may have an operation to start.
inline constexpr Effects start_sending = 1U << 3U;
inline constexpr Effects sends_moved = 1U << 4U;  // the bytes queued to send changed
inline constexpr Effects settle = 1U << 5U;       // check whether the socket has ended
inline constexpr Effects hand_out = 1U << 6U;     // the socket is closed: queue its `closed` record
inline constexpr Effects free_address = 1U << 7U;  // close() must free the address at once

[[nodiscard]] inline Effects start(const Socket& socket, const Lane& lane) noexcept {
    return &lane == &socket.sending ? start_sending : start_receiving;
}
// Returns the effect of a step that changed the bytes queued to send. Most steps have none: only a
// mark that was crossed, a close and a shutdown depend on these bytes.
[[nodiscard]] inline Effects of_moved_sends(const Socket& socket) noexcept {
    const bool matters =
        socket.crossed_mark() || socket.send_shut || socket.state != SocketState::open;
    return matters ? sends_moved : Effects{0};
}
// Returns the effect of a step that ended a request. Only a socket that fails or closes can end.
[[nodiscard]] inline Effects of_ended_request(const Socket& socket) noexcept {
    return socket.failure || socket.state != SocketState::open ? settle : Effects{0};
}
}  // namespace effect

// The sockets that have effects, in the order in which they were added. Empty between two steps.
class Worklist {
public:
    explicit Worklist(SlotTable<Socket>& sockets) noexcept : sockets_(sockets) {}

    void add(Socket& socket, Effects effects) noexcept {
        if (effects != 0) {
            socket.effects |= effects;
            sockets_.add(socket);
        }
    }
    // Makes the error end the socket, unless the socket is ending already. The first error stays in
    // `failure`, except that one which concerned sending only is replaced.
    void fail(Socket& socket, Error error) noexcept {
        if (!socket.live()) {
            return;
        }
        if (!socket.failure || socket.send_broken) {
            socket.failure = error;
            socket.send_broken = false;
        }
        add(socket, effect::fail);
    }
    [[nodiscard]] bool empty() const noexcept { return sockets_.empty(); }
    // Returns the socket at the front, which stays there until drop_first().
    [[nodiscard]] Socket& first() const noexcept { return sockets_.first(); }
    // Takes the next effect of a socket. Returns 0 if it has none.
    [[nodiscard]] static Effects take_effect(Socket& socket) noexcept {
        const auto lowest = static_cast<Effects>(socket.effects & (0U - socket.effects));
        socket.effects = static_cast<Effects>(socket.effects ^ lowest);
        return lowest;
    }
    // Removes the socket at the front. Precondition: it has no more effects.
    void drop_first() noexcept {
        assert(first().effects == 0);
        (void)sockets_.take();
    }

    // Drops the effects of a socket that is retired. Such a socket has effects only if memory was
    // lacking to apply them.
    void forget(Socket& socket) noexcept { sockets_.remove(socket); }

    // Makes the next turn retry a call or a record for which there was no memory.
    void remind() noexcept { reminded_ = true; }
    [[nodiscard]] bool reminded() const noexcept { return reminded_; }
    [[nodiscard]] bool take_reminder() noexcept { return std::exchange(reminded_, false); }

private:
    SocketList<&Socket::effects_link> sockets_;
    bool reminded_{false};
};

}  // namespace iocp
