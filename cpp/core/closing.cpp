// Port: the end of sockets. Cancel by name, shut down, reap, then close: the order in which no
// event of a dead descriptor can reach the one that gets its number next.
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

}  // namespace

void Port::close(Socket& socket, std::int64_t timeout) {
    if (timeout < 0) {
        timeout = options_.close_timeout;
    }
    if (socket.life == Life::draining) {
        shorten_drain(socket, timeout);
        return;
    }
    if (socket.life != Life::open) {
        return;
    }
    if (timeout > 0 && (has_sends(socket.sending) || socket.releasing != 0)) {
        socket.life = Life::draining;
        drop_disconnect(socket);  // before the deadline is armed: its end takes the socket's timer
        disarm(socket.timer);
        arm_close(socket, timeout);
        cancel_lane(socket, socket.receiving);
    } else {
        begin_cancel(socket);
    }
    settle(socket);
    give_up_address(socket);
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

// A deadline that there is no memory for has passed.
void Port::arm_close(Socket& socket, std::int64_t timeout) {
    socket.timer = arm(timeout, TimerKind::close_deadline, &socket);
    if (socket.timer == nullptr) {
        begin_cancel(socket);
    }
}

// A second close may end the drain sooner, never later.
void Port::shorten_drain(Socket& socket, std::int64_t timeout) {
    if (timeout == 0) {
        begin_cancel(socket);
        settle(socket);
        give_up_address(socket);
    } else if (socket.timer->when - backend_->now() > timeout) {
        disarm(socket.timer);
        arm_close(socket, timeout);
        settle(socket);
    }
    nudge();
}

void Port::abort(Socket& socket) {
    if (socket.life == Life::closed || socket.life == Life::free || socket.keep_handle) {
        return;  // what detach() takes back is the caller's
    }
    backend_->reset_on_close(socket);
    begin_cancel(socket);
    settle(socket);
    give_up_address(socket);
    nudge();
}

void Port::detach(Socket& socket) {
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
        Operation* op = socket.receiving.head;
        if (op != nullptr && op->strategy == Receive::datagrams) {
            cancel(*op);  // from now on the system calls the socket readable, and has nothing
        }
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
    } else if (socket.send_shut && !socket.fin_sent && socket.life == Life::open) {
        socket.fin_sent = true;
        (void)backend_->shutdown(socket, false, true);
    }
}

// A fatal error releases all that belongs to the socket (R05).
void Port::fail_socket(Socket& socket, Error error) {
    if (socket.life == Life::open || socket.life == Life::draining) {
        socket.failure = error;
        begin_cancel(socket);
        settle(socket);
    }
}

void Port::begin_cancel(Socket& socket) {
    if (socket.life != Life::open && socket.life != Life::draining) {
        return;
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
    if (socket.releasing != 0) {
        // Nobody waits for the peer any more: a reset makes the kernel let go of the memory.
        backend_->reset_on_close(socket);
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
        if (socket.life == Life::open || socket.life == Life::draining) {
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
        begin_cancel(socket);
        settle(socket);
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
