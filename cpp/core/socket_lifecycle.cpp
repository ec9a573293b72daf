#include "core/socket_lifecycle.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace iocp {

namespace {

bool has_sends(const Lane& lane) noexcept {
    for (const Operation* op = lane.head; op != nullptr; op = op->next) {
        if (op->kind == OperationKind::send) {
            return lane.head->kind != OperationKind::connect && !lane.head->backs_off();
        }
    }
    return false;
}

// Returns whether a close now would lose data: sends that are not sent, or sends whose memory the
// system still reads.
bool leaves_data(const Socket& socket) noexcept {
    return has_sends(socket.sending) || socket.releasing != 0;
}

// The number of progress checks within the timeout of a close. So a close that makes no progress
// ends at most an eighth of its timeout too late.
constexpr std::int64_t looks = 8;

}  // namespace

void SocketLifecycle::close(Socket& socket, std::int64_t timeout) noexcept {
    if (timeout < 0) {
        timeout = options_.close_timeout;
    }
    completions_.end_pause(socket);
    let_go(socket);
    if (socket.state == SocketState::draining) {
        shorten_drain(socket, timeout);
        return;
    }
    if (socket.state != SocketState::open) {
        return;
    }
    if (timeout > 0 && leaves_data(socket)) {
        socket.state = SocketState::draining;
        // Comes before the deadline is armed, because the end of a disconnect disarms the socket's
        // timer.
        cancels_.drop_disconnect(socket);
        timers_.disarm(socket.timer);
        cancels_.cancel_lane(socket.receiving);
        begin_drain(socket, timeout);
        work_.add(socket, effect::settle);
    } else {
        end_now(socket);
    }
}

// Lets the socket's sends go on until a deadline. Without memory for the deadline the socket closes
// at once.
void SocketLifecycle::begin_drain(Socket& socket, std::int64_t timeout) noexcept {
    try {
        drains_[socket.id.slot] = {.timeout = timeout, .since = timers_.now()};
    } catch (const std::bad_alloc&) {
        end_now(socket);
        return;
    }
    (void)note_drained(socket);
    watch_drain(socket);
}

// A second close may shorten the time of the first, never extend it.
void SocketLifecycle::shorten_drain(Socket& socket, std::int64_t timeout) noexcept {
    Drain& drain = drains_.find(socket.id.slot)->second;
    if (timeout == 0) {
        end_now(socket);
    } else if (drain.since + drain.timeout - timers_.now() > timeout) {
        drain.timeout = timeout;
        drain.since = timers_.now();
        timers_.disarm(socket.timer);
        watch_drain(socket);
    }
}

// Notes how far the socket's data has got. Returns whether it got further since the last call.
bool SocketLifecycle::note_drained(Socket& socket) noexcept {
    Drain& drain = drains_.find(socket.id.slot)->second;
    const std::array<std::uint64_t, 3> reached{socket.sending.bytes, socket.releasing,
                                               backend_.bytes_taken(socket)};
    return std::exchange(drain.reached, reached) != reached;
}

void SocketLifecycle::watch_drain(Socket& socket) noexcept {
    const Drain& drain = drains_.find(socket.id.slot)->second;
    const std::int64_t left = drain.since + drain.timeout - timers_.now();
    const std::int64_t look = (drain.timeout / looks) + 1;
    socket.timer =
        timers_.arm(std::clamp<std::int64_t>(left, 0, look), TimerKind::close_deadline, &socket);
    if (socket.timer == nullptr) {
        end_now(socket);
    }
}

// Handles the timer of a close. Its timeout counts from the last progress, so that a slow peer
// still gets everything.
void SocketLifecycle::check_drain(Socket& socket) noexcept {
    timers_.disarm(socket.timer);
    Drain& drain = drains_.find(socket.id.slot)->second;
    const std::int64_t now = timers_.now();
    if (note_drained(socket)) {
        drain.since = now;
    }
    if (now - drain.since >= drain.timeout) {
        end_now(socket);
    } else {
        watch_drain(socket);
    }
}

// A connection makes progress when bytes arrive. While sends are queued, only sent bytes count.
void SocketLifecycle::check_idle(Socket& socket) noexcept {
    timers_.disarm(socket.timer);
    if (socket.state != SocketState::open) {
        return;
    }
    timers_.begin_turn();
    if (socket.sending.bytes != 0) {
        const auto taken = static_cast<std::uint32_t>(backend_.bytes_taken(socket));
        if (std::exchange(socket.taken, taken) != taken) {
            socket.active_ms = timers_.milliseconds();
        }
    }
    if (socket.reading_paused && socket.sending.bytes == 0) {
        socket.active_ms =
            timers_.milliseconds();  // the peer cannot make progress while reading is paused
    }
    const std::int64_t still = std::int64_t{timers_.milliseconds() - socket.active_ms} * 1'000'000;
    if (still < options_.idle_timeout) {
        socket.timer =
            timers_.arm(options_.idle_timeout - still, TimerKind::idle_connection, &socket);
        return;
    }
    ++metrics_.counts.evictions;
    work_.fail(socket, Error::of(Fault::timed_out,
                                 "the connection made no progress for idle_timeout seconds"));
}

// Resets the connection if data is left. After an end of stream the peer would believe that it has
// everything.
void SocketLifecycle::end_now(Socket& socket) noexcept {
    let_go(socket);
    if (!socket.live()) {
        return;
    }
    if (leaves_data(socket)) {
        socket.gave_up = true;
        calls_.reset(socket);
        if (!socket.failure) {
            socket.failure = Error::of(
                Fault::timed_out,
                "the peer took no byte for as long as close() allows, so the connection was reset "
                "with data unsent; give close() a longer timeout");
        }
    }
    begin_cancel(socket);
    work_.add(socket, effect::free_address);
}

void SocketLifecycle::abort(Socket& socket) noexcept {
    completions_.end_pause(socket);
    if (socket.state == SocketState::closed || socket.state == SocketState::free ||
        socket.keep_handle) {
        return;  // after detach() the descriptor belongs to the caller
    }
    if (!socket.watched) {
        calls_.reset(socket);
    }
    let_go(socket);
    begin_cancel(socket);
    work_.add(socket, effect::free_address);
}

void SocketLifecycle::detach(Socket& socket) noexcept {
    completions_.end_pause(socket);
    socket.keep_handle = true;
    begin_cancel(socket);
}

Error SocketLifecycle::shutdown(Socket& socket, bool receiving, bool sending) {
    if (socket.state != SocketState::open) {
        return socket_is_closed;
    }
    if (socket.watched) {
        return only_watched;
    }
    if (receiving) {
        if (const int code = backend_.shutdown(socket, true, false); code != 0) {
            return calls_.error(code);
        }
        Operation* op = socket.receiving.tail;
        if (op != nullptr && op->strategy == ReceiveStrategy::datagrams) {
            cancels_.cancel(*op);  // the shut-down socket polls as readable without a datagram
        }
    }
    if (sending && socket.send_cut) {
        return send_was_cut;
    }
    if (sending && !socket.send_shut) {
        if (socket.sending.idle()) {
            if (const int code = backend_.shutdown(socket, false, true); code != 0) {
                return calls_.error(code);
            }
            socket.fin_sent = true;
        }
        socket.send_shut = true;  // if not shut down above, after_sends() does it
    }
    return {};
}

// Goes on with a close or a shutdown that waits for the queued sends, once the sending lane is
// empty.
void SocketLifecycle::after_sends(Socket& socket) {
    if (!socket.sending.idle()) {
        return;
    }
    if (socket.state == SocketState::draining && socket.releasing == 0) {
        begin_cancel(socket);
    } else if (socket.send_shut && !socket.fin_sent && !socket.send_cut && !socket.failure &&
               socket.state == SocketState::open) {
        (void)backend_.shutdown(socket, false, true);
        socket.fin_sent = true;  // set after the call, which is repeated if it throws
    }
}

// Returns whether a failed socket has nothing left to receive, so that it may close.
bool SocketLifecycle::spent(Socket& socket) {
    if (!socket.failure || socket.state != SocketState::open) {
        return false;
    }
    return socket.send_broken ? socket.read_ended && socket.receiving.idle()
                              : backend_.available(socket) <= 0;
}

// Ends a socket that has a fatal error: cancels its operations, and then closes it (R05).
void SocketLifecycle::fail(Socket& socket) noexcept {
    if (!socket.live()) {
        return;
    }
    if (leaves_data(socket)) {
        calls_.reset(socket);
    }
    begin_cancel(socket);
}

void SocketLifecycle::begin_cancel(Socket& socket) noexcept {
    if (!socket.live()) {
        return;
    }
    if (socket.state == SocketState::draining) {
        drains_.erase(socket.id.slot);
    }
    socket.state = SocketState::cancelling;
    timers_.disarm(socket.timer);
    cancels_.cancel_lane(socket.sending);
    cancels_.cancel_lane(socket.receiving);
    work_.add(socket, effect::settle);
}

// Lets the socket end whole: its owner has closed it.
void SocketLifecycle::let_go(Socket& socket) noexcept {
    const bool kept = socket.keeps_open;
    socket.keeps_open = false;
    if (kept && socket.state == SocketState::cancelling) {
        work_.add(socket, effect::settle);
    }
}

// Queues the record that an error has ended a socket whose owner still has to close it.
void SocketLifecycle::report_end(Socket& socket) noexcept {
    if (socket.end_reported) {
        return;
    }
    if (!completions_.reserve(1)) {
        work_.remind();
        return;
    }
    socket.end_reported = true;
    Ready ready;
    ready.what = Ready::What::ended;
    ready.socket = &socket;
    completions_.push(std::move(ready));
}

// Closes the descriptor once the kernel has ended every request of a closing socket.
void SocketLifecycle::settle(Socket& socket) {
    if (socket.failure && spent(socket)) {
        begin_cancel(socket);
    }
    if (socket.state != SocketState::cancelling || !socket.idle()) {
        return;
    }
    if (socket.keeps_open) {
        report_end(socket);
        return;
    }
    socket.state = SocketState::closed;
    sockets_.closed();
    accepting_.closed(socket);
    const bool cut = socket.releasing != 0 || socket.send_cut;
    if (cut && !socket.keep_handle) {
        // A reset makes the kernel release memory that it still reads, and shows the peer that data
        // is missing.
        calls_.reset(socket);
    }
    if (socket.keep_handle || socket.borrowed) {
        backend_.detach(socket);
    } else {
        backend_.close(socket);
        socket.handle = no_handle;
    }
    work_.add(socket, effect::hand_out);
}

// Queues the record that the socket is closed. The record waits for sends whose memory the kernel
// still reads, and for an accepted socket to be handed out.
void SocketLifecycle::hand_out(Socket& socket) noexcept {
    if (socket.state == SocketState::closed && socket.releasing == 0 && !socket.unclaimed) {
        completions_.closed(socket);
    }
}

void SocketLifecycle::claim(Socket& accepted) noexcept {
    accepted.unclaimed = false;
    if (accepted.state == SocketState::closed) {
        work_.add(accepted, effect::hand_out);
    }
}

void SocketLifecycle::refuse(Socket& accepted) noexcept {
    claim(accepted);
    close(accepted, 0);
}

}  // namespace iocp
