// Port: from a packet of the kernel to the one completion of each operation (R03, R04, R31).
#include <array>

#include "core/port.hpp"

namespace iocp {

Error Port::cancel_error(const Operation& op) noexcept {
    if (fails(op)) {
        return op.socket->failure;
    }
    return op.timed_out ? Error::of(Fault::timed_out, "the operation's timeout passed")
                        : Error::of(Fault::cancelled, "the operation was cancelled");
}

// Whether what ended the socket is what ended the operation. A receive does not fail where sending
// alone is over, nor by a close that gives up on its sends.
bool Port::fails(const Operation& op) noexcept {
    const Socket& socket = *op.socket;
    return socket.failure && (op.sending() || !(socket.gave_up || socket.send_broken));
}

Error Port::system_error(int code) const noexcept {
    return {backend_->exhausted(code) ? Fault::resource : Fault::system, code, nullptr};
}

void Port::complete(Packet& packet) {
    ++counts_.packets;
    Operation* op = operations_.find(packet.operation);
    if (op == nullptr || op->finished() || op->socket == nullptr) {
        drop_late(packet);
        return;
    }
    if (packet.phase == Phase::released) {
        released(*op);
        return;
    }
    Socket& socket = *op->socket;
    Lane& lane = socket.lane_of(*op);
    if (lane.head != op || lane.started == 0) {
        drop_late(packet);
        return;
    }
    if (op->subscription()) {
        subscription_packet(socket, *op, packet);
    } else {
        lane.started = 0;
        op->releases += packet.phase == Phase::transferred ? 1 : 0;
        if (op->kind == Kind::receive && (op->is_message || !socket.stream)) {
            backend_->conclude(*op, packet);
        }
        if (packet.result < 0) {
            fail(socket, lane, static_cast<int>(-packet.result));
        } else if (packet.ready && op->kind != Kind::zero_byte) {
            // The start that follows makes the attempt: whoever is to end must not be part of it,
            // for the answer to its cancel has come.
            finish_cancelled(lane);
        } else {
            progress(socket, lane, {Start::done, packet.result, packet.accepted, packet.flags});
        }
        if (socket.life == Life::cancelling) {
            finish_cancelled(lane);
        }
    }
    if (lane.started == 0 && socket.life != Life::cancelling) {
        start_lane(socket, lane);
    }
    settle(socket);
}

void Port::drop_late(const Packet& packet) {
    ++counts_.late;
    if (packet.accepted != no_handle) {
        close_unused(packet.accepted);
    }
}

// A receive that fills its buffer goes on after every part, and ends only with the last byte, the
// end of the stream (nothing got), an error or a cancel. What it got is in `transferred`.
bool Port::goes_on(const Operation& op, std::size_t got) noexcept {
    return op.fills && got != 0 && op.remaining() != 0;
}

// The request at the head of the lane finished with a count.
void Port::progress(Socket& socket, Lane& lane, const StartResult& result) {
    Operation& op = *lane.head;
    if (op.kind == Kind::send) {
        note_send(socket, op, static_cast<std::size_t>(result.value));
        progress_send(socket, lane, static_cast<std::size_t>(result.value));
        return;
    }
    if (!op.sending()) {
        socket.nagle.heard();
    }
    op.transferred += static_cast<std::size_t>(result.value);
    moved_bytes(socket);
    op.answer = result.flags;
    if (goes_on(op, static_cast<std::size_t>(result.value))) {
        if (op.yields) {
            yield(op);
        }
        finish_cancelled(lane);
        return;
    }
    lane.pop();
    Error lacks;
    if (op.kind == Kind::accept) {
        op.accepted = accepted(socket, result.accepted);
        lacks = op.accepted == nullptr ? no_socket : Error{};
    } else if (op.kind == Kind::connect) {
        socket.connected = true;
        socket.read_ended = false;
    } else if (op.kind == Kind::disconnect) {
        disconnected(op);
    }
    // What ended the socket may have taken the error that this receive would have got.
    const bool ended = op.kind == Kind::receive && result.value == 0 && socket.stream;
    const bool masked = ended && fails(op);
    socket.read_ended = socket.read_ended || (ended && !masked);
    finish(op, masked ? socket.failure : lacks);
}

// Shares the bytes that went among the sends of one request, in order; whole sends complete, the
// rest goes on from where it stands, unless an error kept it from going.
void Port::progress_send(Socket& socket, Lane& lane, std::size_t bytes) {
    socket.active_ms = milliseconds();
    for (;;) {
        Operation& op = *lane.head;
        const std::size_t part = op.remaining() < bytes ? op.remaining() : bytes;
        send_queue_bytes_ -= lane.advance(part);
        bytes -= part;
        if (op.remaining() != 0 && socket.stream) {
            const int code = backend_->swallowed_error(socket);
            if (code != 0) {
                fail(socket, lane, code);
                return;
            }
            break;
        }
        lane.pop();
        finish(op, {});
        if (bytes == 0 || lane.head == nullptr) {
            break;
        }
    }
    finish_cancelled(lane);
}

// The request at the head of the lane failed, or was cancelled before it did anything.
void Port::fail(Socket& socket, Lane& lane, int code) {
    Operation& op = *lane.head;
    if (backend_->cancelled(code)) {
        if (op.yields) {
            yield(op);
        }
        finish_cancelled(lane);
        return;
    }
    if (waits_for_resources(code) && !op.cancel_requested && starve(op)) {
        finish_cancelled(lane);
        return;
    }
    const Error error = system_error(code);
    lane.pop();
    if (backend_->fatal(op, code)) {
        finish(op, error);
        fail_with(op, code);
        return;
    }
    if (op.kind == Kind::connect) {
        end_connect(lane, op, error, true);
        return;
    }
    const bool cut = op.transferred != 0;
    finish(op, error);
    if (socket.stream && op.sending() && socket.life == Life::draining) {
        socket.send_cut = true;  // what was to go before the close will not
        fail_socket(socket, error);
    } else if (socket.stream && op.sending()) {
        // Nothing of a stream may overtake bytes that did not go.
        socket.send_cut = socket.send_cut || cut;
        refuse_rest(lane, error);
    }
}

// Completes every operation of the lane whose cancel was asked for. Precondition: none is started.
// They stand at its front, for all others end with their cancel: what waits behind is not walked.
void Port::finish_cancelled(Lane& lane) {
    Operation* op = lane.head;
    while (lane.cancels != 0) {
        Operation* next = op->next;
        if (op->cancel_requested) {
            const bool cut = op->kind == Kind::send && op->transferred != 0;
            lane.unlink(*op);
            if (op->kind == Kind::connect) {
                end_connect(lane, *op, cancel_error(*op), false);
                finish_cancelled(lane);  // the lane is another one now
                return;
            }
            finish(*op, cancel_error(*op));
            if (cut) {
                op->socket->send_cut = true;
                refuse_rest(lane, Error::of(Fault::cancelled,
                                            "an earlier send was cut part-way; nothing of the "
                                            "stream may follow it"));
                return;
            }
        }
        op = next;
    }
}

void Port::refuse_rest(Lane& lane, Error error) {
    while (lane.head != nullptr) {
        Operation& op = lane.pop();
        finish(op, error);
    }
}

// The one place where an operation ends and its charge returns: both wait for the memory that the
// kernel still reads.
void Port::finish(Operation& op, Error error) noexcept {
    op.error = error;
    op.ended = true;
    if (op.held) {
        op.held = false;
        --budget_queue_;
    }
    if (op.outcome != Outcome::done) {
        send_queue_bytes_ -= op.bytes_to_send();
    }
    disarm(op.deadline);
    if (op.releases != 0) {
        op.releasing = true;
        ++op.socket->releasing;
        ++unreleased_;
        return;
    }
    end(op);
}

void Port::end(Operation& op) noexcept {
    if (op.backs_off()) {
        disarm(op.socket->timer);
    }
    leave(op);
    set_state(op, State::completed);
    feeds_ = !starved_.empty();
    if (op.silent) {
        handed_out(op);
        return;
    }
    if (op.told && audience_->finished(op)) {
        op.next_finished = nullptr;
        (aside_last_ != nullptr ? aside_last_->next_finished : aside_first_) = &op;
        aside_last_ = &op;
        any_aside_.store(true, std::memory_order_relaxed);
        return;
    }
    ready_.completed(op);
}

bool Port::cancel(Operation& op) {
    if (op.finished() || op.cancel_requested || op.state.load() == State::idle) {
        return false;
    }
    Socket& socket = *op.socket;
    Lane& lane = socket.lane_of(op);
    if (op.releasing) {
        op.cancel_requested = true;
        set_state(op, State::cancelling);
        return true;  // all its bytes went: the cancel has lost the race
    }
    request_cancel(lane, op);
    if (op.subscription()) {
        end_pause(socket);  // what was taken before is delivered, and then its end
    }
    const bool first = lane.head == &op;
    if (lane.has_started(op)) {
        ask_cancel(*lane.head);
    } else if (op.kind != Kind::send || op.transferred == 0 || !first) {
        lane.unlink(op);
        if (op.kind == Kind::connect && first) {
            end_connect(lane, op, cancel_error(op), false);
        } else {
            finish(op, cancel_error(op));
        }
        const bool awaits_flush = &lane == &socket.sending && socket.flush_listed;
        if (lane.started == 0 && socket.life != Life::cancelling && !awaits_flush) {
            start_lane(socket, lane);
        }
    } else {
        finish_cancelled(lane);
        after_sends(socket);
    }
    tell_flow(socket);
    settle(socket);
    nudge();
    return true;
}

// From the tail on, so that nothing behind is started only to be cancelled.
unsigned Port::cancel_all(Socket& socket) {
    unsigned count = 0;
    for (Lane* lane : {&socket.sending, &socket.receiving}) {
        while (lane->tail != nullptr && !lane->has_started(*lane->tail) && cancel(*lane->tail)) {
            ++count;
        }
        std::array<Operation*, most_started> request{};
        std::size_t used = 0;
        for (Operation* op = lane->head; used < lane->started; op = op->next) {
            request.at(used++) = op;
        }
        while (used-- > 0) {
            count += cancel(*request.at(used)) ? 1U : 0U;
        }
    }
    return count;
}

Timer* Port::arm(std::int64_t delay, TimerKind kind, void* target) noexcept {
    const std::int64_t base = backend_->now();
    const std::int64_t limit = INT64_MAX - base;
    return timers_.add(base + (delay < limit ? delay : limit), kind, target);
}

void Port::disarm(Timer*& timer) noexcept {
    if (timer != nullptr) {
        timers_.remove(timer);
        timer = nullptr;
    }
}

void Port::fire_timers() {
    if (timers_.empty()) {
        return;
    }
    const std::int64_t now = backend_->now();
    while (!timers_.empty() && timers_.first()->when <= now) {
        Timer* timer = timers_.first();
        if (timer->kind == TimerKind::call) {
            if (!ready_.reserve(1)) {
                reminded_ = true;  // it fires in the next turn
                return;
            }
            timers_.take(timer);
            --calls_;
            Ready ready;
            ready.what = Ready::What::timer;
            ready.timer = timer;
            push(std::move(ready));
        } else {
            fire(*timer);
        }
    }
}

// A timer of the core's own: whoever it is for gives it up first.
void Port::fire(const Timer& timer) {
    void* const target = timer.target;
    const auto resume = [this](Operation& op) {
        op.paused = false;
        start_lane(*op.socket, op.socket->lane_of(op));
    };
    switch (timer.kind) {
        case TimerKind::operation_deadline: {
            auto& op = *static_cast<Operation*>(target);
            disarm(op.deadline);
            op.timed_out = true;
            cancel(op);
            break;
        }
        case TimerKind::close_deadline: {
            auto& socket = *static_cast<Socket*>(target);
            disarm(socket.timer);
            check_drain(socket);
            break;
        }
        case TimerKind::subscription_retry: {
            auto& op = *static_cast<Operation*>(target);
            disarm(op.deadline);
            resume(op);
            break;
        }
        case TimerKind::queue_retry: {
            auto& op = *static_cast<Operation*>(target);
            disarm(op.socket->timer);
            resume(op);
            break;
        }
        case TimerKind::idle_connection: {
            auto& socket = *static_cast<Socket*>(target);
            disarm(socket.timer);
            check_idle(socket);
            break;
        }
        case TimerKind::patience:
            disarm(patience_);
            ease_queue();
            break;
        case TimerKind::starved:
            feed_starved();
            break;
        case TimerKind::cooling:
            disarm(cooling_);
            cool_down();
            break;
        case TimerKind::call:
            break;
    }
}

}  // namespace iocp
