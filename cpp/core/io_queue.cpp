#include "core/io_queue.hpp"

#include <algorithm>
#include <new>

namespace iocp {

namespace {

// Maximum buffers and bytes of one request that carries several sends.
constexpr std::size_t flush_parts = max_started;
constexpr std::size_t flush_bytes = std::size_t{4} << 20U;
// First pause before an operation is tried again after a temporary error (Backend::queue_full()),
// in nanoseconds. The pause doubles with each retry, at most six times.
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
    flow_.accepted(op);
    if (timeout >= 0) {
        op.deadline = timers_.arm(timeout, TimerKind::operation_deadline, &op);
    }
}

void IoQueue::retire(Operation& op) noexcept {
    if (op.subscription()) {
        // A new subscription may follow the cancelled one.
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

// Counts the sends from the head of the lane that may share one request. Sends with other flags or
// another strategy, files, messages and held operations end the request; a datagram is always
// alone. A direct send is alone too, because the kernel reports the release of memory for each
// request.
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
        work_.add(socket, effect::of_moved_sends(socket));
    }
}

// The rest waits for room in the kernel, by the effect start_sending.
void IoQueue::send_now(Socket& socket) {
    Lane& lane = socket.sending;
    constexpr Effects failed_socket = effect::fail | effect::fail_sending;
    while (startable(lane) && lane.head->kind == OperationKind::send && !lane.head->direct &&
           (socket.effects & failed_socket) == 0) {
        const unsigned count = run_length(lane);
        const StartResult result = calls_.attempt(*lane.head, count);
        if (result.start == Start::pending) {
            lane.head->attempted = true;
            break;
        }
        if (result.start == Start::failed) {
            break;  // the start that follows handles the error
        }
        ++metrics_.counts.flushes;
        metrics_.counts.sends += count;
        progress(socket, lane, result);
    }
    work_.add(socket, effect::start_sending);
}

// Starts `count` operations of a lane. A readiness-only operation lends the system no memory: it is
// tried first, and waits only if the call would block.
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

// Tries the operation again after a pause, because no event reports the end of a temporary error
// (Backend::queue_full()). The pause uses the socket's one timer. A closing socket needs that timer
// for its deadline, so its operation is cancelled instead.
void IoQueue::ask_later(Socket& socket, Lane& lane) noexcept {
    Operation& op = *lane.head;
    if (socket.state != SocketState::open) {
        lane.pop();
        endings_.finish(op, Error::of(Fault::cancelled,
                                      "the target's queue was full while the socket was closing; "
                                      "let the operation complete before the close"));
        return;
    }
    timers_.disarm(socket.timer);  // the idle timeout, which a disconnecting socket does not need
    socket.timer = timers_.arm(queue_pause << op.refusals, TimerKind::queue_retry, &op);
    if (socket.timer == nullptr) {
        lane.pop();
        endings_.finish(op, no_timer);
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
    if (packet.phase == Phase::transferred) {
        Releases::expect(op);
    }
    if (op.kind == OperationKind::receive && (op.is_message || !socket.stream)) {
        backend_.conclude(op, packet);
    }
    if (packet.result < 0) {
        fail(socket, lane, static_cast<int>(-packet.result));
    } else if (packet.ready && op.kind != OperationKind::zero_byte) {
        // The packet only says that the operation should be started again. Operations whose cancel
        // it answers complete before that.
        cancels_.finish_cancelled(lane);
    } else {
        progress(socket, lane, {Start::done, packet.result, packet.accepted, packet.flags});
    }
    if (socket.state == SocketState::cancelling) {
        cancels_.finish_cancelled(lane);
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
        cancels_.finish_cancelled(lane);
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
    // The system reports an error of the connection only once. If another operation got it, this
    // receive found the end of the stream instead, and ends with the same error.
    const bool ended = op.kind == OperationKind::receive && got == 0 && socket.stream;
    const bool masked = ended && Endings::fails(op);
    socket.read_ended = socket.read_ended || (ended && !masked);
    endings_.finish(op, masked ? socket.failure : lacks);
}

// Distributes the sent bytes over the sends of one request, in order. Sends whose bytes are all
// sent complete. The next one continues from where it is, unless an error stopped it.
void IoQueue::progress_send(Socket& socket, Lane& lane, std::size_t bytes) {
    socket.active_ms = timers_.milliseconds();
    for (;;) {
        Operation& op = *lane.head;
        const std::size_t part = std::min(op.remaining(), bytes);
        flow_.advance(lane, part);
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
        endings_.finish(op, {});
        if (bytes == 0 || lane.head == nullptr) {
            break;
        }
    }
    cancels_.finish_cancelled(lane);
}

// Handles a request at the head of the lane that failed or was cancelled.
void IoQueue::fail(Socket& socket, Lane& lane, int code) {
    Operation& op = *lane.head;
    if (backend_.cancelled(code)) {
        if (op.yields) {
            admission_.yield(op);
        }
        cancels_.finish_cancelled(lane);
        return;
    }
    if (admission_.waits_for_resources(code, outstanding_) && !op.cancel_requested &&
        admission_.starve(op)) {
        cancels_.finish_cancelled(lane);
        return;
    }
    const Error error = calls_.error(code);
    lane.pop();
    if (backend_.fatal(op, code)) {
        endings_.finish(op, error);
        fail_by(op, code);
        return;
    }
    if (op.kind == OperationKind::connect) {
        endings_.end_connect(lane, op, error, true);
        return;
    }
    const bool cut = op.transferred != 0;
    endings_.finish(op, error);
    if (socket.stream && op.sending() && socket.state == SocketState::draining) {
        socket.send_cut = true;  // the bytes queued before the close will not be sent
        work_.fail(socket, error);
    } else if (socket.stream && op.sending()) {
        // Later sends of a stream must not overtake bytes that were not sent.
        socket.send_cut = socket.send_cut || cut;
        endings_.refuse_rest(lane, error);
    }
}

// Handles a fatal error. After the error of a stream's send, receives may still take the data that
// has arrived, and then the socket closes. If the error concerns sending only, the socket closes
// once the peer has ended its stream. Any other error, and any error of a closing socket, fails the
// socket at once.
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

// After a disconnect with `reuse`, makes the state of the socket that of a new one.
void IoQueue::disconnected(const Operation& op) noexcept {
    if (op.reuse) {
        Socket& socket = *op.socket;
        socket.connected = false;
        socket.send_shut = false;
        socket.fin_sent = false;
        socket.read_ended = false;
    }
}

}  // namespace iocp
