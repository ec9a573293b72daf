// Port: how sockets send, what tells a sender to pause, and what becomes of peers that do not read
// (R15, R16, R17).
#include "core/port.hpp"

namespace iocp {

Error Port::set_send_strategy(Socket& socket, Send strategy) {
    if (strategy == Send::direct && !backend_->send_direct(socket, true)) {
        return Error::of(Fault::argument,
                         "this socket cannot send from where the data lies here; take 'buffered' "
                         "or 'when_writable'");
    }
    if (strategy != Send::direct && socket.send_strategy == Send::direct) {
        (void)backend_->send_direct(socket, false);
    }
    socket.send_strategy = strategy;
    return {};
}

void Port::set_marks(Socket& socket, SendMarks marks) {
    socket.marks = marks;
    tell_flow(socket);
    nudge();
}

// A sender hears that it is to pause, and then that it may go on: in turn, and never twice.
void Port::tell_flow(Socket& socket) {
    if (socket.life != Life::open || socket.failure) {
        return;
    }
    const std::uint64_t bytes = socket.sending.bytes;
    const bool pause = socket.marks.high != 0 && bytes > socket.marks.high;
    const bool resume = socket.marks.high == 0 || bytes <= socket.marks.low;
    if (socket.send_paused ? !resume : !pause) {
        return;
    }
    if (!ready_.reserve(1)) {
        reminded_ = true;  // told in the next turn
        return;
    }
    socket.send_paused = !socket.send_paused;
    counts_.pauses += socket.send_paused ? 1 : 0;
    Ready ready;
    ready.what = socket.send_paused ? Ready::What::pause_sends : Ready::What::resume_sends;
    ready.socket = &socket;
    push(std::move(ready));
}

// The kernel no longer reads what one request of a direct send named.
void Port::released(Operation& op) {
    if (op.releases == 0) {
        ++counts_.late;
        return;
    }
    --op.releases;
    if (op.releases != 0 || !op.releasing) {
        return;
    }
    Socket& socket = *op.socket;
    op.releasing = false;
    --socket.releasing;
    --unreleased_;
    end(op);
    if (socket.life == Life::closed) {
        hand_out_closed(socket);
    } else {
        after_sends(socket);
    }
}

// The releases that an ended thread's ring owed are lost with it. What the peer has not read of
// those sends must not be sent from memory that is about to be the application's again.
void Port::lose_releases() {
    if (unreleased_ == 0) {
        return;
    }
    operations_.each([this](Operation& op) {
        if (op.releases == 0) {
            return;
        }
        Socket& socket = *op.socket;
        reset(socket);
        fail_socket(socket, Error::of(Fault::cancelled,
                                      "the thread that ran the port ended while a direct send was "
                                      "on its way; the connection was reset"));
        op.releases = 1;
        released(op);
    });
}

void Port::moved_bytes(Socket& socket) noexcept {
    if (socket.sending.bytes == 0) {
        socket.active_ms = milliseconds();
    }
}

bool Port::watch_idle(Socket& socket) noexcept {
    if (options_.idle_timeout == 0) {
        return true;
    }
    socket.active_ms = milliseconds();
    socket.timer = arm(options_.idle_timeout, TimerKind::idle_connection, &socket);
    return socket.timer != nullptr;
}

// A connection makes progress when bytes arrive, or, while some are queued to send, when those go.
void Port::check_idle(Socket& socket) {
    if (socket.life != Life::open) {
        return;
    }
    turn_time_ = backend_->now();
    if (socket.sending.bytes != 0) {
        const auto taken = static_cast<std::uint32_t>(backend_->bytes_taken(socket));
        if (std::exchange(socket.taken, taken) != taken) {
            socket.active_ms = milliseconds();
        }
    }
    if (socket.reading_paused && socket.sending.bytes == 0) {
        socket.active_ms = milliseconds();  // what the peer sends stays unread: no fault of its own
    }
    const std::int64_t still = std::int64_t{milliseconds() - socket.active_ms} * 1'000'000;
    if (still < options_.idle_timeout) {
        socket.timer = arm(options_.idle_timeout - still, TimerKind::idle_connection, &socket);
        return;
    }
    ++counts_.evictions;
    fail_socket(socket, Error::of(Fault::timed_out,
                                  "the connection made no progress for idle_timeout seconds"));
}

}  // namespace iocp
