// Port: the end of sockets. Cancel by name, shut down, reap, then close: the order in which no
// event of a dead descriptor can reach the one that gets its number next.
#include <algorithm>

#include "core/port.hpp"

namespace iocp {

namespace {

bool has_sends(const Lane& lane) noexcept {
    for (const Operation* op = lane.head; op != nullptr; op = op->next) {
        if (op->kind == Kind::send) {
            return lane.head->kind != Kind::connect && !lane.head->backs_off();
        }
    }
    return false;
}

// Whether a close now would keep from the peer what it was to get: sends that did not go, or that
// the system still reads from their memory.
bool leaves_data(const Socket& socket) noexcept {
    return has_sends(socket.sending) || socket.releasing != 0;
}

// How often a drain looks for progress: a deadline passes at most this part of itself too late.
constexpr std::int64_t looks = 8;

}  // namespace

void Port::close(Socket& socket, std::int64_t timeout) {
    if (timeout < 0) {
        timeout = options_.close_timeout;
    }
    end_pause(socket);
    if (socket.life == Life::draining) {
        shorten_drain(socket, timeout);
        return;
    }
    if (socket.life != Life::open) {
        return;
    }
    if (timeout > 0 && leaves_data(socket)) {
        socket.life = Life::draining;
        drop_disconnect(socket);  // before the deadline is armed: its end takes the socket's timer
        disarm(socket.timer);
        cancel_lane(socket, socket.receiving);
        begin_drain(socket, timeout);
        settle(socket);
    } else {
        end_now(socket);
    }
    nudge();
}

// The address of a listener or of a datagram socket is free when close() returns, as far as the
// calling thread can end its requests; Socket::life tells when it is otherwise. A port that closes
// ends all sockets in one turn, so that none is told of before the ones its callbacks hold.
void Port::give_up_address(Socket& socket) {
    if (closing_ || socket.life != Life::cancelling || !socket.holds_address()) {
        return;
    }
    std::vector<Packet> packets;
    backend_->take_cancelled(packets);
    for (Packet& packet : packets) {
        complete(packet);
    }
}

// Without memory for a deadline the socket gets no more time.
void Port::begin_drain(Socket& socket, std::int64_t timeout) {
    try {
        drains_[socket.id.slot] = {.timeout = timeout, .since = backend_->now()};
    } catch (const std::bad_alloc&) {
        end_now(socket);
        return;
    }
    (void)note_drained(socket);
    watch_drain(socket);
}

// A second close may end the drain sooner, never later.
void Port::shorten_drain(Socket& socket, std::int64_t timeout) {
    Drain& drain = drains_.find(socket.id.slot)->second;
    if (timeout == 0) {
        end_now(socket);
    } else if (drain.since + drain.timeout - backend_->now() > timeout) {
        drain.timeout = timeout;
        drain.since = backend_->now();
        disarm(socket.timer);
        watch_drain(socket);
    }
    nudge();
}

// Notes how far the socket's data has got. Returns whether it got further since the last time.
bool Port::note_drained(Socket& socket) {
    Drain& drain = drains_.find(socket.id.slot)->second;
    const std::array<std::uint64_t, 3> reached{socket.sending.bytes, socket.releasing,
                                               backend_->bytes_taken(socket)};
    return std::exchange(drain.reached, reached) != reached;
}

void Port::watch_drain(Socket& socket) {
    const Drain& drain = drains_.find(socket.id.slot)->second;
    const std::int64_t left = drain.since + drain.timeout - backend_->now();
    const std::int64_t look = (drain.timeout / looks) + 1;
    socket.timer = arm(std::clamp<std::int64_t>(left, 0, look), TimerKind::close_deadline, &socket);
    if (socket.timer == nullptr) {
        end_now(socket);
    }
}

// The deadline of a close counts from the peer's last progress, so a slow reader gets everything.
void Port::check_drain(Socket& socket) {
    Drain& drain = drains_.find(socket.id.slot)->second;
    const std::int64_t now = backend_->now();
    if (note_drained(socket)) {
        drain.since = now;
    }
    if (now - drain.since >= drain.timeout) {
        end_now(socket);
    } else {
        watch_drain(socket);
    }
}

// Ends a socket that gets no more time. A peer that would miss something sees a reset: the end of
// the stream would tell it that it has everything.
void Port::end_now(Socket& socket) {
    if (socket.life != Life::open && socket.life != Life::draining) {
        return;
    }
    if (leaves_data(socket)) {
        socket.gave_up = true;
        reset(socket);
        if (!socket.failure) {
            socket.failure = Error::of(
                Fault::timed_out,
                "the socket was closed before its peer had taken all that was sent: no byte went "
                "for as long as close() allows, and the connection was reset");
        }
    }
    begin_cancel(socket);
    settle(socket);
    give_up_address(socket);
}

// The descriptor's close will be a reset, or, where others hold it too, the last of their closes:
// the peer misses something in either case.
void Port::reset(Socket& socket) {
    if (!socket.resetting) {
        backend_->reset_on_close(socket);
    }
    socket.resetting = true;
}

void Port::abort(Socket& socket) {
    end_pause(socket);
    if (socket.life == Life::closed || socket.life == Life::free || socket.keep_handle) {
        return;  // what detach() takes back is the caller's
    }
    reset(socket);
    begin_cancel(socket);
    settle(socket);
    give_up_address(socket);
    nudge();
}

void Port::detach(Socket& socket) {
    end_pause(socket);
    socket.keep_handle = true;
    begin_cancel(socket);
    settle(socket);
    nudge();
}

Error Port::shutdown(Socket& socket, bool receiving, bool sending) {
    if (socket.life != Life::open) {
        return Error::of(Fault::socket_closed, "the socket is closed");
    }
    if (receiving) {
        if (const int code = backend_->shutdown(socket, true, false); code != 0) {
            return system_error(code);
        }
        Operation* op = socket.receiving.tail;
        if (op != nullptr && op->strategy == Receive::datagrams) {
            cancel(*op);  // from now on the system calls the socket readable, and has nothing
        }
    }
    if (sending && socket.send_cut) {
        return send_was_cut;
    }
    if (sending && !socket.send_shut) {
        if (socket.sending.idle()) {
            if (const int code = backend_->shutdown(socket, false, true); code != 0) {
                return system_error(code);
            }
            socket.fin_sent = true;
        }
        socket.send_shut = true;  // else after_sends() does it, behind what is queued
    }
    return {};
}

// The sending lane ran empty: what was to follow the queued sends happens now.
void Port::after_sends(Socket& socket) {
    if (!socket.sending.idle()) {
        return;
    }
    if (socket.life == Life::draining && socket.releasing == 0) {
        begin_cancel(socket);
        settle(socket);
    } else if (socket.send_shut && !socket.fin_sent && !socket.send_cut && !socket.failure &&
               socket.life == Life::open) {
        socket.fin_sent = true;
        (void)backend_->shutdown(socket, false, true);
    }
}

// An operation met a fatal error. If it was a send, receivers still get what has arrived: the
// socket closes once that is delivered, or, where only sending is over, once the peer's stream has
// ended.
void Port::fail_with(const Operation& op, int code) {
    Socket& socket = *op.socket;
    const Error error = system_error(code);
    if (socket.life != Life::open || !socket.stream || !op.sending()) {
        socket.send_cut = socket.send_cut || socket.life == Life::draining;
        fail_socket(socket, error);
        return;
    }
    if (!socket.failure) {
        socket.failure = error;
        socket.send_broken = backend_->ends_sending(code);
    }
    cancel_lane(socket, socket.sending);
    settle(socket);
}

// Whether nothing is to be received any more before a failed socket closes.
bool Port::spent(Socket& socket) {
    if (!socket.failure || socket.life != Life::open) {
        return false;
    }
    return socket.send_broken ? socket.read_ended && socket.receiving.idle()
                              : backend_->available(socket) <= 0;
}

// A fatal error releases all that belongs to the socket (R05).
void Port::fail_socket(Socket& socket, Error error) {
    if (socket.life == Life::open || socket.life == Life::draining) {
        if (!socket.failure || socket.send_broken) {
            socket.failure = error;
            socket.send_broken = false;
        }
        if (leaves_data(socket)) {
            reset(socket);
        }
        begin_cancel(socket);
        settle(socket);
    }
}

void Port::end_with(Socket& socket, Error error) {
    fail_socket(socket, error);
    nudge();
}

void Port::begin_cancel(Socket& socket) {
    if (socket.life != Life::open && socket.life != Life::draining) {
        return;
    }
    if (socket.life == Life::draining) {
        drains_.erase(socket.id.slot);
    }
    socket.life = Life::cancelling;
    disarm(socket.timer);
    cancel_lane(socket, socket.sending);
    cancel_lane(socket, socket.receiving);
}

// Asks for the end of what the kernel holds and completes the rest, in posting order.
void Port::cancel_lane(Socket& /*socket*/, Lane& lane) {
    Operation* at = lane.head;
    for (unsigned i = 0; i < lane.started; ++i, at = at->next) {
        request_cancel(lane, *at);
    }
    if (lane.started != 0) {
        ask_cancel(*lane.head);
    }
    while (at != nullptr) {
        Operation& op = *at;
        at = op.next;
        request_cancel(lane, op);
        lane.unlink(op);
        finish(op, cancel_error(op));
    }
}

// Closes the descriptor once the kernel has given back everything.
void Port::settle(Socket& socket) {
    if (socket.failure && spent(socket)) {
        begin_cancel(socket);
    }
    if (socket.life != Life::cancelling || !idle(socket)) {
        return;
    }
    socket.life = Life::closed;
    --open_sockets_;
    if (socket.capped) {
        socket.capped = false;
        --capped_sockets_;
        resume_capped();
    }
    const bool cut = socket.send_cut && !socket.keep_handle;
    if (socket.releasing != 0 || cut) {
        // A reset makes the kernel let go of memory that it still reads, and tells the peer that
        // what it has is cut.
        reset(socket);
    }
    if (socket.keep_handle) {
        backend_->detach(socket);
    } else {
        backend_->close(socket);
        socket.handle = no_handle;
    }
    hand_out_closed(socket);
}

// The last that is heard of a socket, so it waits for sends whose memory the kernel still reads,
// and for whoever takes an accepted one.
void Port::hand_out_closed(Socket& socket) {
    if (socket.releasing != 0 || socket.unclaimed) {
        return;
    }
    ready_.closed(socket);
}

void Port::claim(Socket& accepted) {
    accepted.unclaimed = false;
    if (accepted.life == Life::closed) {
        hand_out_closed(accepted);
        nudge();
    }
}

void Port::refuse(Socket& accepted) {
    claim(accepted);
    close(accepted, 0);
}

void Port::begin_close(std::int64_t timeout) {
    closing_ = true;
    sockets_.each([&](Socket& socket) {
        if (socket.life != Life::free) {
            close(socket, timeout);
        }
    });
    if (shared()) {
        workers_->open_up();
    }
    nudge();
}

bool Port::terminate() {
    std::unique_lock lock(mutex_);
    closing_ = true;
    sockets_.each([&](Socket& socket) {
        end_pause(socket);
        end_now(socket);
    });
    constexpr std::int64_t patience = 5'000'000'000;
    const std::int64_t deadline = backend_->now() + patience;
    while (open_sockets_ + unreleased_ != 0 && backend_->now() < deadline) {
        if (const Error error = turn(lock, deadline)) {
            if (backend_->holds_requests()) {
                if (error.fault == Fault::resource) {
                    continue;
                }
                break;
            }
            (void)restart_requests();  // none of which the system has: they end with the sockets
        }
    }
    abandoned_ = open_sockets_ + unreleased_ != 0;
    return !abandoned_;
}

}  // namespace iocp
