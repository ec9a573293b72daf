#pragma once

#include <cassert>
#include <utility>

#include "base/error.hpp"
#include "core/socket_list.hpp"
#include "ops/socket.hpp"

namespace iocp {

// The effects of a step at a socket. No part of a port calls a part above it: the part adds effects
// here, and Turn applies them when the step is over. At one socket the lowest bit comes first,
// whatever the order in which the bits were added.
namespace effect {
inline constexpr Effects fail = 1U << 0U;          // `failure` ends everything at the socket
inline constexpr Effects fail_sending = 1U << 1U;  // `failure` ends its sends
// The receiving lane may have an operation to start.
inline constexpr Effects start_receiving = 1U << 2U;
// The sending lane may have an operation to start.
inline constexpr Effects start_sending = 1U << 3U;
inline constexpr Effects sends_moved = 1U << 4U;  // the bytes queued to send changed
inline constexpr Effects settle = 1U << 5U;       // the step is over: the socket may have ended
inline constexpr Effects hand_out = 1U << 6U;     // the socket is closed; its end may be handed out
inline constexpr Effects free_address = 1U << 7U;  // its address must be free at once

[[nodiscard]] inline Effects start(const Socket& socket, const Lane& lane) noexcept {
    return &lane == &socket.sending ? start_sending : start_receiving;
}
}  // namespace effect

// The sockets that have effects, in the order in which they were added. Empty between two steps.
class Worklist {
public:
    explicit Worklist(SlotTable<Socket>& sockets) noexcept : sockets_(sockets) {}

    void add(Socket& socket, Effects effects) noexcept {
        socket.effects |= effects;
        sockets_.add(socket);
    }
    // Ends the socket by an error, unless it is ending already. The first error stays, unless it
    // concerned sending only; then this one replaces it.
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
    // The socket at the front. It stays there until drop_first().
    [[nodiscard]] Socket& first() const noexcept { return sockets_.first(); }
    // Takes the next effect of a socket. Returns 0 if it has none.
    [[nodiscard]] static Effects take_effect(Socket& socket) noexcept {
        const auto lowest = static_cast<Effects>(socket.effects & (0U - socket.effects));
        socket.effects = static_cast<Effects>(socket.effects ^ lowest);
        return lowest;
    }
    // Removes the first socket. Precondition: it has no more effects.
    void drop_first() noexcept {
        assert(first().effects == 0);
        (void)sockets_.take();
    }

    // Drops the effects of a socket that is retired: it has some only if memory was lacking.
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
