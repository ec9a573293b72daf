#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/turn.hpp"

namespace iocp {

// The application's calls on sockets. Each call hands its work to one part of the port, and applies
// the effects that the part leaves. Every member needs the port's lock, unless it says otherwise.
class PortSockets {
public:
    PortSockets(Parts& parts, Turn& turn) noexcept : parts_(parts), turn_(turn) {}
    PortSockets(const PortSockets&) = delete;
    PortSockets& operator=(const PortSockets&) = delete;

    // Opens a socket of the port. After an error `out` is unchanged.
    Error open(int family, int type, int protocol, Socket*& out);
    // Makes a socket of the port from the caller's handle. After an error the caller keeps the
    // handle.
    Error adopt(const Adopted& adopted, Socket*& out);
    // Makes a socket for a descriptor that stays the caller's and takes readiness waits only.
    Error watch(Handle handle, Socket*& out);
    Error watch_object(Handle handle, Socket*& out);

    // Closes the socket after its queued sends, which may go on until `timeout` nanoseconds pass
    // without progress (negative: the port's default). Then cancels the socket's operations, takes
    // their packets, and closes the descriptor.
    void close(Socket& socket, std::int64_t timeout);
    // Closes the socket and resets its connection.
    void abort(Socket& socket);
    // Has an error leave the open socket's descriptor open, until the application closes it.
    void keep_open(Socket& socket) noexcept { SocketLifecycle::keep_open(socket); }
    // Ends the socket as a fatal error of the system would.
    void end_with(Socket& socket, Error error);
    // Gives the descriptor back to the caller, once the system has given back every request: at
    // once if the socket is idle, otherwise in a later turn. Precondition: the socket is open, and
    // no direct send waits for its release.
    void detach(Socket& socket);
    // Shuts down one direction, or both. The shutdown for sending follows the queued sends.
    Error shutdown(Socket& socket, bool receiving, bool sending);

    // Notes that the accepted connection was handed out, so that its end may be handed out too. The
    // connection may already have ended.
    void claim(Socket& accepted);
    // Closes an accepted connection that the application does not take.
    void refuse(Socket& accepted);
    // Frees the slot of a closed socket. Precondition: its `closed` record was handed out.
    void retire(Socket& socket) noexcept;

    // Changes how the socket sends from the next post on.
    Error set_send_strategy(Socket& socket, SendStrategy strategy);
    // Changes the marks, and asks the sender to pause or go on by the new ones.
    void set_marks(Socket& socket, SendMarks marks);
    // Sends as much of the sends that wait for the next turn as the system takes at once.
    void flush(Socket& socket);
    // Notifies the sender, once, when at most `bytes` are left to send (SendFlow::expect_fall()).
    void expect_fall(Socket& socket, std::uint32_t bytes);
    // Changes the strategy of receive_each; std::nullopt stands for adaptive.
    Error set_receive_strategy(Socket& socket, std::optional<ReceiveStrategy> strategy);

    // Pause and resume the socket's subscription. While it is paused it starts no request, and
    // results that still arrive are kept. Each returns whether it changed something.
    bool pause_reading(Socket& socket);
    bool resume_reading(Socket& socket);
    // Call the members of the same names of CompletionQueue (completion_queue.hpp). may_withhold()
    // needs no lock.
    [[nodiscard]] bool may_withhold(const Ready& ready) const noexcept {
        return parts_.completions.may_withhold(ready);
    }
    [[nodiscard]] Withheld withhold(Ready& ready) noexcept {
        return parts_.completions.withhold(ready);
    }
    [[nodiscard]] bool take_withheld(Socket& socket, Ready& out) noexcept {
        return parts_.completions.take_withheld(socket, out);
    }
    void resume_later(Socket& socket);

    // Returns the socket with this id, or null if it is retired.
    [[nodiscard]] Socket* find(SlotId id) noexcept { return parts_.socket_table.find(id); }
    [[nodiscard]] SlotTable<Socket>& table() noexcept { return parts_.socket_table; }
    // Returns the number of sockets that have a descriptor.
    [[nodiscard]] std::size_t open_count() const noexcept { return parts_.sockets.open(); }
    // Returns whether every open and post is refused, because the port closes.
    [[nodiscard]] bool closing() const noexcept { return parts_.sockets.closing(); }

private:
    Parts& parts_;
    Turn& turn_;
};

}  // namespace iocp
