#pragma once

#include "core/calls.hpp"
#include "core/completion_queue.hpp"
#include "core/effects.hpp"
#include "core/endings.hpp"
#include "core/socket_list.hpp"
#include "core/timers.hpp"

namespace iocp {

// The behaviour that all subscriptions share. A subscription can continue in a later turn. The
// error of a single item (an accept or a datagram) is reported and does not end the subscription. A
// round that brings only errors makes it pause, and a fatal error ends it together with its socket
// (R32).
class Standing {
public:
    Standing(const SystemErrors& errors, Calls& calls, Endings& endings,
             CompletionQueue& completions, Timers& timers, Worklist& work,
             SlotTable<Socket>& sockets)
        : errors_(errors),
          calls_(calls),
          endings_(endings),
          completions_(completions),
          timers_(timers),
          work_(work),
          later_(sockets) {}

    // Lets the socket's subscription continue in the next turn, before that turn waits.
    void later(Socket& socket) noexcept { later_.add(socket); }
    // Lets the socket's subscription read in the next turn, before that turn waits.
    void read_later(Socket& socket, Operation& op) noexcept {
        op.reads_next = true;
        later(socket);
    }
    [[nodiscard]] bool any() const noexcept { return !later_.empty(); }
    // Returns the last of the sockets whose subscription continues in the next turn, or null.
    [[nodiscard]] const Socket* last() const noexcept { return later_.last(); }
    // Takes the first socket whose subscription continues in the next turn. Precondition: any().
    [[nodiscard]] Socket& take() noexcept { return later_.take(); }
    // Forgets a socket that is retired, so that its subscription does not continue.
    void forget(Socket& socket) noexcept { later_.remove(socket); }

    // Returns whether the subscription may start now.
    [[nodiscard]] static bool startable(const Socket& socket, const Operation& op) noexcept {
        return !socket.resumes.listed() && !op.paused && !socket.reading_paused;
    }
    // Handles the failure of one item: a fatal error ends the socket, any other is reported.
    void fail_item(Socket& socket, Operation& op, int code) noexcept;
    // Queues a record with the error of one item. Precondition: there is room for the record.
    void report(Socket& socket, Operation& op, Error error) noexcept;
    // Pauses a subscription whose attempts fail; a timer starts it again. Without memory for the
    // timer, the subscription continues in the next turn.
    void pause(Operation& op) noexcept;
    // Ends the subscription and its socket with an error.
    void fail(Socket& socket, Operation& op, Error error) noexcept {
        end(socket, op, error);
        work_.fail(socket, error);
    }
    // Ends the subscription, with an error or without one, and leaves the socket as it is.
    void end(Socket& socket, Operation& op, Error error) noexcept {
        socket.receiving.pop();
        endings_.finish(op, error);
    }

private:
    const SystemErrors& errors_;
    Calls& calls_;
    Endings& endings_;
    CompletionQueue& completions_;
    Timers& timers_;
    Worklist& work_;
    SocketList<&Socket::resumes> later_;
};

}  // namespace iocp
