#include "core/io_queue.hpp"

#include <algorithm>
#include <new>

namespace iocp {

namespace {

// Maximum buffers and bytes of one request of a flush.
constexpr std::size_t flush_parts = max_started;
constexpr std::size_t flush_bytes = std::size_t{4} << 20U;
// First pause of an operation that met a full queue, in nanoseconds. It doubles at most six times.
constexpr std::int64_t queue_pause = 1'000'000;
constexpr std::uint8_t max_doublings = 6;

}  // namespace

Operation* IoQueue::create(Socket& socket, OperationKind kind) noexcept {
    Operation* op = nullptr;
    try {
        op = &operations_.take();
        op->socket = &socket;
        op->kind = kind;
        metrics_.created(*op);
        return op;
    } catch (const std::bad_alloc&) {
        if (op != nullptr) {
            operations_.give_back(*op);
        }
        return nullptr;
    }
}

void IoQueue::accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept {
    Socket& socket = *op.socket;
    op.outcome = outcome;
    op.sequence = ++socket.sequence;
    socket.subscribed = socket.subscribed || op.subscription();
    ++socket.outstanding;
    ++outstanding_;
    metrics_.note(op, Stage::posted, op.kind == OperationKind::connect ? 0 : op.lease.length);
    if (outcome == Outcome::done) {
        return;
    }
    metrics_.enter(op, outcome == Outcome::queued ? State::queued : State::pending);
    bytes_to_send_ += op.bytes_to_send();
    if (timeout >= 0) {
        op.deadline = timers_.arm(timeout, TimerKind::operation_deadline, &op);
    }
}

void IoQueue::retire(Operation& op) noexcept {
    if (op.subscription()) {
        // A cancelled subscription may have a successor.
        const Operation* last = op.socket->receiving.tail;
        op.socket->subscribed = last != nullptr && last->subscription();
    }
    leave_socket(op);
    retire_notified(op);
}

void IoQueue::retire_notified(Operation& op) noexcept {
    --outstanding_;
    operations_.give_back(op);
}

// Counts the sends from the head that may share one request. The request ends at a datagram's
// border, a change of flags or strategy, a file, a message, or a held operation. A direct send is
// alone, because its release is its own.
unsigned IoQueue::run_length(const Lane& lane) noexcept {
    const Operation& head = *lane.head;
    if (head.kind != OperationKind::send || !head.socket->stream || head.is_message ||
        head.from_file) {
        return 1;
    }
    unsigned count = 0;
    std::size_t parts = 0;
    std::size_t bytes = 0;
    for (const Operation* op = &head; op != nullptr; op = op->next) {
        if (op->kind != OperationKind::send || op->held || op->is_message || op->from_file ||
            op->flags != head.flags || op->readiness_only != head.readiness_only || op->direct) {
            break;
        }
        parts += op->slices != 0 ? op->slices : 1U;
        bytes += op->remaining();
        if (count != 0 && (parts > flush_parts || bytes > flush_bytes)) {
            break;
        }
        ++count;
    }
    return count == 0 ? 1 : count;
}

void IoQueue::start(Socket& socket, Lane& lane) {
    constexpr Effects failed_socket = effect::fail | effect::fail_sending;
    while (startable(lane) && !lane.head->subscription() && (socket.effects & failed_socket) == 0) {
        Operation& op = *lane.head;
        const unsigned count = run_length(lane);
        if (op.kind == OperationKind::send) {
            ++metrics_.counts.flushes;
            metrics_.counts.sends += count;
        }
        if (op.kind == OperationKind::disconnect) {
            socket.send_shut = socket.fin_sent = true;
        }
        const StartResult result = start(op, count);
        if (result.start == Start::pending) {
            lane.started = static_cast<std::uint8_t>(count);
            Operation* at = &op;
            for (unsigned i = 0; i < count; ++i, at = at->next) {
                metrics_.enter(*at, State::pending);
            }
            break;
        }
        const bool failed = result.start == Start::failed;
        if (failed && backend_.queue_full(op, static_cast<int>(result.value))) {
            ask_later(socket, lane);
        } else if (failed) {
            fail(socket, lane, static_cast<int>(result.value));
        } else {
            progress(socket, lane, result);
        }
    }
    if (&lane == &socket.sending) {
        work_.add(socket, effect::sends_moved);
    }
}

// A readiness wait leaves no memory with the system: the operation is tried first, and waits only
// then.
StartResult IoQueue::start(Operation& op, unsigned count) noexcept {
    const bool tried = op.attempted;
    op.attempted = false;
    if (op.readiness_only && !tried) {
        const StartResult result = calls_.attempt(op, count);
        if (result.start != Start::pending) {
            return result;
        }
    }
    if (op.kind == OperationKind::accept) {
        return sockets_.start_accept(op);
    }
    return calls_.start(op, count);
}

// Holds the operation until a timer fires, as a blocking call would have held its caller. A closing
// socket needs its one timer itself, so an operation that would have to wait there is refused.
void IoQueue::ask_later(Socket& socket, Lane& lane) noexcept {
    Operation& op = *lane.head;
    if (socket.state != SocketState::open) {
        lane.pop();
        finish(op, Error::of(Fault::cancelled, "there was no room for it when the socket closed"));
        return;
    }
    timers_.disarm(socket.timer);  // the idle timeout's, which an ending connection does not need
    socket.timer = timers_.arm(queue_pause << op.refusals, TimerKind::queue_retry, &op);
    if (socket.timer == nullptr) {
        lane.pop();
        finish(op, no_timer);
        return;
    }
    op.paused = true;
    op.outcome = Outcome::queued;
    metrics_.enter(op, State::queued);
    op.refusals = std::min(static_cast<std::uint8_t>(op.refusals + 1), max_doublings);
}

void IoQueue::complete(Operation& op, Packet& packet) {
    Socket& socket = *op.socket;
    Lane& lane = socket.lane_of(op);
    lane.end_request();
    op.releases += packet.phase == Phase::transferred ? 1 : 0;
    if (op.kind == OperationKind::receive && (op.is_message || !socket.stream)) {
        backend_.conclude(op, packet);
    }
    if (packet.result < 0) {
        fail(socket, lane, static_cast<int>(-packet.result));
    } else if (packet.ready && op.kind != OperationKind::zero_byte) {
        // The start that follows makes the attempt. Complete cancelled operations first: their
        // cancel is answered.
        finish_cancelled(lane);
    } else {
        progress(socket, lane, {Start::done, packet.result, packet.accepted, packet.flags});
    }
    if (socket.state == SocketState::cancelling) {
        finish_cancelled(lane);
    }
}

// Handles the result of the request at the head of the lane.
void IoQueue::progress(Socket& socket, Lane& lane, const StartResult& result) {
    Operation& op = *lane.head;
    const auto got = static_cast<std::size_t>(result.value);
    if (op.kind == OperationKind::send) {
        flow_.note_send(socket, op, got);
        progress_send(socket, lane, got);
        return;
    }
    if (!op.sending()) {
        socket.nagle.heard();
    }
    op.transferred += got;
    socket.note_received(timers_.milliseconds());
    op.answer = result.flags;
    if (goes_on(op, got)) {
        if (op.yields) {
            admission_.yield(op);
        }
        finish_cancelled(lane);
        return;
    }
    lane.pop();
    Error lacks;
    if (op.kind == OperationKind::accept) {
        op.accepted = sockets_.accepted(socket, result.accepted);
        lacks = op.accepted == nullptr ? no_socket : Error{};
    } else if (op.kind == OperationKind::connect) {
        socket.connected = true;
        socket.read_ended = false;
    } else if (op.kind == OperationKind::disconnect) {
        disconnected(op);
    }
    // The system reports an error once: the operation that failed the socket may have taken it from
    // this receive.
    const bool ended = op.kind == OperationKind::receive && got == 0 && socket.stream;
    const bool masked = ended && fails(op);
    socket.read_ended = socket.read_ended || (ended && !masked);
    finish(op, masked ? socket.failure : lacks);
}

// Shares the sent bytes among the sends of one request, in order. Whole sends complete. The rest
// goes on from where it is, unless an error stopped it.
void IoQueue::progress_send(Socket& socket, Lane& lane, std::size_t bytes) {
    socket.active_ms = timers_.milliseconds();
    for (;;) {
        Operation& op = *lane.head;
        const std::size_t part = std::min(op.remaining(), bytes);
        bytes_to_send_ -= lane.advance(part);
        bytes -= part;
        if (op.remaining() != 0 && socket.stream) {
            const int code = backend_.swallowed_error(socket);
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

// Handles a request at the head of the lane that failed or was cancelled.
void IoQueue::fail(Socket& socket, Lane& lane, int code) {
    Operation& op = *lane.head;
    if (backend_.cancelled(code)) {
        if (op.yields) {
            admission_.yield(op);
        }
        finish_cancelled(lane);
        return;
    }
    if (admission_.waits_for_resources(code, outstanding_) && !op.cancel_requested &&
        admission_.starve(op)) {
        finish_cancelled(lane);
        return;
    }
    const Error error = calls_.error(code);
    lane.pop();
    if (backend_.fatal(op, code)) {
        finish(op, error);
        fail_by(op, code);
        return;
    }
    if (op.kind == OperationKind::connect) {
        end_connect(lane, op, error, true);
        return;
    }
    const bool cut = op.transferred != 0;
    finish(op, error);
    if (socket.stream && op.sending() && socket.state == SocketState::draining) {
        socket.send_cut = true;  // the bytes queued before the close will not be sent
        work_.fail(socket, error);
    } else if (socket.stream && op.sending()) {
        // Later sends of a stream must not overtake bytes that were not sent.
        socket.send_cut = socket.send_cut || cut;
        refuse_rest(lane, error);
    }
}

// After a send's error receivers still get the data that has arrived; the socket closes then. Where
// sending alone is over, it closes when the peer's stream has ended.
void IoQueue::fail_by(const Operation& op, int code) noexcept {
    Socket& socket = *op.socket;
    const Error error = calls_.error(code);
    if (socket.state != SocketState::open || !socket.stream || !op.sending()) {
        socket.send_cut = socket.send_cut || socket.state == SocketState::draining;
        work_.fail(socket, error);
        return;
    }
    if (!socket.failure) {
        socket.failure = error;
        socket.send_broken = backend_.ends_sending(code);
    }
    work_.add(socket, effect::fail_sending | effect::settle);
}

void IoQueue::refuse_rest(Lane& lane, Error error) noexcept {
    while (lane.head != nullptr) {
        Operation& op = lane.pop();
        finish(op, error);
    }
}

void IoQueue::finish(Operation& op, Error error) noexcept {
    op.error = error;
    op.ended = true;
    admission_.unhold(op);
    if (op.outcome != Outcome::done) {
        bytes_to_send_ -= op.bytes_to_send();
    }
    timers_.disarm(op.deadline);
    if (op.releases != 0) {
        op.releasing = true;
        ++op.socket->releasing;
        ++unreleased_;
        return;
    }
    end(op);
}

void IoQueue::end(Operation& op) noexcept {
    if (op.backs_off()) {
        timers_.disarm(op.socket->timer);
    }
    admission_.end(op);
    metrics_.enter(op, State::completed);
    if (op.silent) {
        metrics_.handed_out(op);
        return;
    }
    completions_.completed(op);
}

void IoQueue::released(Operation& op) noexcept {
    if (op.releases == 0) {
        ++metrics_.counts.late;
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
    work_.add(socket, socket.state == SocketState::closed ? effect::hand_out : effect::sends_moved);
}

// Resets each connection. Bytes that the peer has not acknowledged must not be sent from memory
// that returns to the application. A send that went in parts may owe a release while its rest waits
// in the lane.
void IoQueue::lose_releases() {
    operations_.each([this](Operation& op) {
        if (op.releases == 0) {
            return;
        }
        Socket& socket = *op.socket;
        calls_.reset(socket);
        work_.fail(socket, Error::of(Fault::cancelled,
                                     "the thread that ran the port ended while a direct send was "
                                     "on its way; the connection was reset"));
        op.releases = 1;
        released(op);
    });
}

Error IoQueue::cancel_error(const Operation& op) noexcept {
    if (fails(op)) {
        return op.socket->failure;
    }
    return op.timed_out ? Error::of(Fault::timed_out, "the operation's timeout passed")
                        : Error::of(Fault::cancelled, "the operation was cancelled");
}

// Completes the cancelled operations. They are at the front of the lane, because all others end
// with their cancel, so the operations behind them are not walked.
void IoQueue::finish_cancelled(Lane& lane) noexcept {
    Operation* op = lane.head;
    while (lane.cancels != 0) {
        Operation* next = op->next;
        if (op->cancel_requested) {
            const bool cut = op->kind == OperationKind::send && op->transferred != 0;
            lane.unlink(*op);
            if (op->kind == OperationKind::connect) {
                end_connect(lane, *op, cancel_error(*op), false);
                op = lane.head;  // end_connect() has changed the lane
                continue;
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

bool IoQueue::cancel(Operation& op) noexcept {
    if (op.finished() || op.cancel_requested || op.state.load() == State::idle) {
        return false;
    }
    Socket& socket = *op.socket;
    Lane& lane = socket.lane_of(op);
    if (op.releasing) {
        op.cancel_requested = true;
        metrics_.enter(op, State::cancelling);
        return true;  // all its bytes went: the cancel has lost the race
    }
    request_cancel(lane, op);
    if (op.subscription()) {
        completions_.end_pause(socket);  // results taken before are delivered, and then its end
    }
    const bool first = lane.head == &op;
    if (lane.has_started(op)) {
        calls_.cancel(*lane.head);
    } else if (op.kind != OperationKind::send || op.transferred == 0 || !first) {
        lane.unlink(op);
        if (op.kind == OperationKind::connect && first) {
            end_connect(lane, op, cancel_error(op), false);
        } else {
            finish(op, cancel_error(op));
        }
        if (&lane != &socket.sending || !flow_.awaits_flush(socket)) {
            work_.add(socket, effect::start(socket, lane));
        }
    } else {
        finish_cancelled(lane);
    }
    work_.add(socket, effect::sends_moved | effect::settle);
    return true;
}

unsigned IoQueue::cancel_all(Socket& socket) noexcept {
    unsigned count = 0;
    for (Lane* lane : {&socket.sending, &socket.receiving}) {
        while (lane->tail != nullptr && !lane->has_started(*lane->tail) && cancel(*lane->tail)) {
            ++count;
        }
        Operation* op = lane->head;
        for (unsigned i = 0; i < lane->started; ++i, op = op->next) {
            count += cancel(*op) ? 1U : 0U;  // it stays in its lane until its packet comes
        }
    }
    return count;
}

void IoQueue::cancel_lane(Lane& lane) noexcept {
    Operation* at = lane.head;
    for (unsigned i = 0; i < lane.started; ++i, at = at->next) {
        request_cancel(lane, *at);
    }
    if (lane.started != 0) {
        calls_.cancel(*lane.head);
    }
    while (at != nullptr) {
        Operation& op = *at;
        at = op.next;
        request_cancel(lane, op);
        lane.unlink(op);
        finish(op, cancel_error(op));
    }
}

void IoQueue::ask_again() noexcept {
    operations_.each([this](Operation& op) {
        if (op.socket == nullptr || op.finished()) {
            return;
        }
        const Lane& lane = op.socket->lane_of(op);
        if (lane.head == &op && lane.started != 0 &&
            (op.cancel_requested || op.yields || op.switched ||
             (op.subscription() && op.socket->reading_paused))) {
            calls_.cancel(op);
        }
    });
}

// Ends a connect that failed; nothing else does. It withdraws the system's attempt, which a later
// connect would take for its own. It ends the sends that waited for the connection, and fails the
// socket where receives wait that no data could reach. `answered`: the system itself ended the
// attempt. Precondition: the operation has left its lane, and nothing of the lane is started.
void IoQueue::end_connect(Lane& lane, Operation& op, Error error, bool answered) noexcept {
    Socket& socket = *op.socket;
    const int code = answered || socket.connected ? 0 : calls_.withdraw(op);
    finish(op, error);
    if (socket.connected) {
        return;  // the connection belongs to an earlier connect
    }
    if (socket.stream) {
        while (lane.head != nullptr && lane.head->kind != OperationKind::connect) {
            finish(lane.pop(), error);
        }
    }
    if (socket.stream && !socket.receiving.idle()) {
        work_.fail(socket, error);
    } else if (code != 0) {
        work_.fail(socket, calls_.error(code));
    }
}

// Resets the state of a socket that is to be used again, as if it were new.
void IoQueue::disconnected(const Operation& op) noexcept {
    if (op.reuse) {
        Socket& socket = *op.socket;
        socket.connected = false;
        socket.send_shut = false;
        socket.fin_sent = false;
        socket.read_ended = false;
    }
}

// The disconnect may have started, behind sends that went and whose memory is still read.
void IoQueue::drop_disconnect(Socket& socket) noexcept {
    Lane& lane = socket.sending;
    Operation* last = lane.tail;
    if (last == nullptr || last->kind != OperationKind::disconnect) {
        return;
    }
    if (lane.head == last && lane.started != 0) {
        request_cancel(lane, *last);
        calls_.cancel(*last);
    } else {
        lane.unlink(*last);
        finish(*last, cancel_error(*last));
    }
}

}  // namespace iocp
