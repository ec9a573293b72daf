// Port: from a post to the kernel. Try, then charge (admission.cpp), then start (R01, R06).
#include <algorithm>
#include <new>

#include "backend/sent_file.hpp"
#include "core/port.hpp"

namespace iocp {

namespace {

// A flush carries at most this many buffers and bytes in one request.
constexpr std::size_t flush_parts = most_started;
constexpr std::size_t flush_bytes = std::size_t{4} << 20U;
// How long an operation waits for room in the queue it goes to: twice as long each time, six times.
constexpr std::int64_t queue_pause = 1'000'000;
constexpr std::uint8_t most_doublings = 6;
constexpr Error no_timer = Error::of(Fault::resource, "no memory for a timer");

constexpr const char* refused_receive_flags =
    "flags of a receive are MSG_PEEK and MSG_WAITALL, MSG_OOB on a stream, and on Linux MSG_TRUNC "
    "on datagrams and MSG_ERRQUEUE on AF_INET and AF_INET6; no operation needs MSG_DONTWAIT";
constexpr const char* refused_send_flags =
    "flags of a send are MSG_OOB on a stream, MSG_DONTROUTE on AF_INET and AF_INET6, and on Linux "
    "MSG_MORE on streams and UDP, MSG_CONFIRM on UDP, MSG_EOR on SOCK_SEQPACKET and MSG_NOSIGNAL; "
    "no operation needs MSG_DONTWAIT";
constexpr std::uint64_t most_file_bytes = std::uint64_t{1} << 47U;  // a lane counts to 2^48

}  // namespace

Operation* Port::new_operation(Socket& socket, Kind kind) {
    Operation* op = nullptr;
    try {
        op = &operations_.take();
        op->socket = &socket;
        op->kind = kind;
        if (latencies_ != nullptr) {
            latencies_->posted(*op, backend_->now());
        }
        return op;
    } catch (const std::bad_alloc&) {
        if (op != nullptr) {
            discard(*op);
        }
        return nullptr;
    }
}

void Port::discard(Operation& op) noexcept { operations_.give_back(op); }

Error Port::check(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    if (closing_) {
        return Error::of(Fault::port_closed, "the port is closed; make a new one");
    }
    if (socket.life != Life::open) {
        return Error::of(Fault::socket_closed, "the socket is closed; nothing more can be posted");
    }
    if (Error error = check_connection(op)) {
        return error;
    }
    if ((op.flags & ~backend_->flags_taken(socket, op.sending())) != 0) {
        return Error::of(Fault::argument,
                         op.sending() ? refused_send_flags : refused_receive_flags);
    }
    if (op.sending()) {
        if (socket.failure) {
            return socket.failure;
        }
        if (socket.send_shut && op.kind != Kind::disconnect) {
            return Error::of(Fault::socket_closed,
                             "the socket was shut down for writing; nothing more can be sent");
        }
        if (socket.send_cut) {
            return send_was_cut;
        }
        return {};
    }
    // What follows a subscription that was cancelled begins when the kernel has given that back.
    const Operation* last = socket.receiving.tail;
    const bool stands = last != nullptr && last->subscription();
    if (stands && !last->cancel_requested) {
        return Error::of(Fault::argument,
                         "a subscription (receive or accept_each) holds this direction; cancel it "
                         "before posting single operations");
    }
    if (op.subscription() && last != nullptr && !stands) {
        return Error::of(Fault::argument,
                         "operations are outstanding in this direction; a subscription starts "
                         "when there are none");
    }
    const bool each_datagram = op.strategy == Receive::datagrams;
    if (op.kind == Kind::receive_each && socket.stream == each_datagram) {
        return Error::of(Fault::argument, each_datagram
                                              ? "receive_from() is for datagrams; a stream is "
                                                "received with receive()"
                                              : "receive() needs a stream socket; datagrams are "
                                                "received with receive_from()");
    }
    if (op.kind == Kind::receive_each && each_datagram && op.block_size > most_datagram()) {
        return Error::of(Fault::argument,
                         "size passes what a region of the port's memory holds; ask for less, or "
                         "raise its region_size");
    }
    const Operation* sending = socket.sending.head;
    if (op.kind == Kind::receive_each && socket.stream && !socket.connected &&
        (sending == nullptr || sending->kind != Kind::connect)) {
        return Error::of(Fault::argument, "the socket is not connected; connect it first");
    }
    return {};
}

bool Port::attempts_first(const Operation& op, const Lane& lane) const noexcept {
    return lane.idle() && !op.batched && !op.subscription() && op.kind != Kind::connect &&
           op.kind != Kind::disconnect && !op.direct;
}

// What a call that failed inside a post raises there; a fatal error ends the socket too (R05).
Error Port::refused(const Operation& op, int code) {
    const Error error = system_error(code);
    if (backend_->fatal(op, code)) {
        fail_with(op, code);
        nudge();
    }
    return error;
}

// A post, or a try, found the end of the stream. Returns the error that this end stands for, if one
// has ended the connection.
Error Port::end_met(Operation& op) {
    Socket& socket = *op.socket;
    if (!socket.stream || op.kind != Kind::receive) {
        return {};
    }
    const Error masked = fails(op) ? socket.failure : Error{};
    socket.read_ended = socket.read_ended || !masked;
    return masked;
}

// Tries once. `done` says that the operation needs nothing more; otherwise what is left of it is
// still to be charged and started.
Error Port::attempt(Operation& op, bool& done) {
    Socket& socket = *op.socket;
    if (op.kind == Kind::accept && !room_for_connection()) {
        return no_socket;
    }
    const StartResult result = within_memory([&] { return backend_->attempt(op, 1); });
    if (result.start == Start::failed && !waits_for_resources(static_cast<int>(result.value))) {
        return refused(op, static_cast<int>(result.value));
    }
    if (result.start != Start::done) {
        op.begun = true;
        if (!op.sending()) {
            note_wait(socket);
        }
        return {};
    }
    if (op.kind == Kind::accept) {
        op.accepted = accepted(socket, result.accepted);
        if (op.accepted == nullptr) {
            return no_socket;
        }
    } else if (op.kind == Kind::send && !op.from_file) {
        note_send(socket, op, static_cast<std::size_t>(result.value));
    } else if (!op.sending()) {
        socket.nagle.heard();
    }
    if (result.value == 0) {
        if (Error error = end_met(op)) {
            settle(socket);
            nudge();
            return error;
        }
    }
    op.advance(static_cast<std::size_t>(result.value));
    op.answer = result.flags;
    done = op.kind == Kind::send ? op.remaining() == 0 || !socket.stream
                                 : !goes_on(op, static_cast<std::size_t>(result.value));
    return {};
}

// Precondition: there is room for a timer if there is a timeout.
void Port::accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept {
    Socket& socket = *op.socket;
    op.outcome = outcome;
    op.sequence = ++socket.sequence;
    ++socket.outstanding;
    ++outstanding_;
    if (trace_ != nullptr) {
        record(op, Stage::posted, op.kind == Kind::connect ? 0 : op.lease.length);
    }
    if (outcome == Outcome::done) {
        return;
    }
    set_state(op, outcome == Outcome::queued ? State::queued : State::pending);
    send_queue_bytes_ += op.bytes_to_send();
    if (timeout >= 0) {
        op.deadline = arm(timeout, TimerKind::operation_deadline, &op);
    }
}

Error Port::submit(Operation& op, std::int64_t timeout) {
    Socket& socket = *op.socket;
    if (Error error = check(op)) {
        return error;
    }
    op.fills = op.kind == Kind::receive && socket.stream && backend_->fills(op.flags) &&
               (!op.is_message || op.message()->control == nullptr);
    if (op.kind == Kind::send) {
        if (Error error = op.from_file ? prepare_file(op) : prepare_send(op)) {
            return error;
        }
    }
    // One for its deadline, one for the patience of the queue that it may come to stand in.
    if (timeout >= 0 && !timers_.reserve(2)) {
        return no_timer;
    }
    Lane& lane = socket.lane_of(op);
    if (attempts_first(op, lane)) {
        bool done = false;
        if (!ledger_.could_fit(pages_of(op))) {
            return charge(op);  // larger than the whole budget: refused before a byte goes
        }
        if (Error failed = attempt(op, done)) {
            return failed;
        }
        if (done) {
            accept(op, Outcome::done, timeout);
            op.silent = socket.skip_done && !op.told;
            finish(op, {});
            if (socket.failure) {
                settle(socket);
            }
            if (!op.silent) {
                nudge();
            }
            return {};
        }
    }
    if (op.subscription()) {
        end_pause(socket);
        timeout = -1;  // it ends by cancel; its buffers are charged one by one as they are posted
    } else if (Error error = charge(op)) {
        return error;
    }
    const bool behind = !lane.idle() || op.batched || op.held;
    accept(op, behind ? Outcome::queued : Outcome::pending, timeout);
    lane.push(op);
    if (op.batched) {
        if (!socket.flush_listed && lane.started == 0) {
            socket.flush_listed = true;
            (flush_last_ != nullptr ? flush_last_->next_flush : flush_first_) = &socket;
            flush_last_ = &socket;
        }
    } else if (!behind) {
        start_lane(socket, lane);
    }
    tell_flow(socket);
    nudge();
    return {};
}

// A file of any size is taken while the queue is not over its high mark, or, without one, under its
// cap: it holds no memory, so that cutting it to the cap would gain nothing.
Error Port::prepare_file(Operation& op) {
    const Socket& socket = *op.socket;
    const std::uint64_t queued = socket.sending.bytes;
    const bool known = SentFile::of(op).length() != SentFile::unknown_length;
    op.uncounted = !known && op.lease.length > most_file_bytes;
    if (!op.uncounted && op.lease.length > most_file_bytes - std::min(queued, most_file_bytes)) {
        return Error::of(Fault::argument,
                         "files of more than 2**47 bytes in all cannot be queued on one socket; "
                         "send this one in parts, by offset and count");
    }
    const SendMarks& marks = socket.marks;
    if (marks.cap != 0 && (marks.high != 0 ? queued > marks.high : queued >= marks.cap)) {
        ++counts_.refusals;
        return Error::of(Fault::budget,
                         "the socket's queue has a cap, and no file is taken while it is over its "
                         "high mark; go on when on_resume is called, or raise the marks");
    }
    return {};
}

// How the socket sends decides how this one goes, and its cap whether it may be queued.
Error Port::prepare_send(Operation& op) {
    Socket& socket = *op.socket;
    const std::uint64_t cap = socket.marks.cap;
    if (cap != 0 && (op.lease.length > cap || socket.sending.bytes > cap - op.lease.length)) {
        ++counts_.refusals;
        return Error::of(Fault::budget,
                         "the bytes queued to send would pass the socket's cap; go on when "
                         "on_resume is called, or raise the cap");
    }
    op.watching = socket.send_strategy == Send::when_writable;
    op.direct = socket.send_strategy == Send::direct && op.lease.length != 0;
    return {};
}

// How many sends from the head on may share one request: never across a datagram's border, a flag,
// a file, a direct one, whose release is its alone, a message, or an operation that is not the
// kernel's yet.
unsigned Port::run_length(const Lane& lane) noexcept {
    const Operation& head = *lane.head;
    if (head.kind != Kind::send || !head.socket->stream || head.is_message || head.from_file) {
        return 1;
    }
    unsigned count = 0;
    std::size_t parts = 0;
    std::size_t bytes = 0;
    for (const Operation* op = &head; op != nullptr; op = op->next) {
        if (op->kind != Kind::send || op->held || op->is_message || op->from_file ||
            op->flags != head.flags || op->watching != head.watching || op->direct) {
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

// Starts what can be started at the head of a lane, and goes on behind whatever is done at once.
void Port::start_lane(Socket& socket, Lane& lane) {
    while (lane.head != nullptr && lane.started == 0 && !lane.head->held && !lane.head->paused) {
        Operation& op = *lane.head;
        if (op.subscription()) {
            start_subscription(socket, op);
            return;
        }
        const unsigned count = run_length(lane);
        if (op.kind == Kind::send) {
            ++counts_.flushes;
            counts_.sends += count;
        }
        if (op.kind == Kind::disconnect) {
            socket.send_shut = socket.fin_sent = true;
        }
        const StartResult result = start(op, count);
        if (result.start == Start::pending) {
            lane.started = static_cast<std::uint8_t>(count);
            Operation* at = &op;
            for (unsigned i = 0; i < count; ++i, at = at->next) {
                set_state(*at, State::pending);
            }
            break;
        }
        const bool failed = result.start == Start::failed;
        if (failed && backend_->queue_full(op, static_cast<int>(result.value))) {
            ask_later(socket, lane);
        } else if (failed) {
            fail(socket, lane, static_cast<int>(result.value));
        } else {
            progress(socket, lane, result);
        }
    }
    after_sends(socket);
    tell_flow(socket);
}

// What only watches leaves no memory with the system: it is tried, and then watches.
StartResult Port::start(Operation& op, unsigned count) {
    const bool again = op.begun && op.kind != Kind::connect;
    op.begun = op.begun && op.kind == Kind::connect;
    if (op.watching && !again) {
        const StartResult result = within_memory([&] { return backend_->attempt(op, count); });
        if (result.start != Start::pending) {
            return result;
        }
    }
    if (op.kind == Kind::accept) {
        return try_accept(op);
    }
    return within_memory([&] { return backend_->start(op, count); });
}

// The core holds the operation until the timer fires, as a call that waits would have been held.
// Once the socket drains, its one timer is taken: what would have to wait is refused.
void Port::ask_later(Socket& socket, Lane& lane) {
    Operation& op = *lane.head;
    if (socket.life != Life::open) {
        lane.pop();
        finish(op, Error::of(Fault::cancelled, "there was no room for it when the socket closed"));
        return;
    }
    disarm(socket.timer);  // of the idle timeout, which a connection that ends has no use for
    socket.timer = arm(queue_pause << op.refusals, TimerKind::queue_retry, &op);
    if (socket.timer == nullptr) {
        lane.pop();
        finish(op, no_timer);
        return;
    }
    op.paused = true;
    op.outcome = Outcome::queued;
    set_state(op, State::queued);
    op.refusals = std::min(static_cast<std::uint8_t>(op.refusals + 1), most_doublings);
}

void Port::flush_sends() {
    while (flush_first_ != nullptr) {
        Socket& socket = *flush_first_;
        flush_first_ = socket.next_flush;
        if (flush_first_ == nullptr) {
            flush_last_ = nullptr;
        }
        socket.next_flush = nullptr;
        socket.flush_listed = false;
        if (socket.life == Life::open || socket.life == Life::draining) {
            start_lane(socket, socket.sending);
        }
    }
}

Error Port::try_receive(Socket& socket, std::byte* data, std::size_t length, std::int64_t& got) {
    got = -1;
    if (socket.life != Life::open) {
        return Error::of(Fault::socket_closed, "the socket is closed");
    }
    if (!socket.receiving.idle()) {
        return {};  // earlier posts come first
    }
    const StartResult result = within_memory([&] { return backend_->read(socket, data, length); });
    Operation probe;
    probe.socket = &socket;
    if (result.start == Start::failed) {
        return refused(probe, static_cast<int>(result.value));
    }
    if (result.start == Start::done) {
        const Error error = result.value == 0 ? end_met(probe) : Error{};
        socket.nagle.heard();
        got = result.value;
        if (socket.failure) {
            settle(socket);
            nudge();
        }
        return error;
    }
    return {};
}

Error Port::try_send(Socket& socket, const std::byte* data, std::size_t length,
                     std::int64_t& went) {
    went = 0;
    Operation probe;
    probe.socket = &socket;
    probe.kind = Kind::send;
    probe.lease = {const_cast<std::byte*>(data), length, nullptr, nullptr};
    if (Error error = check(probe)) {
        return error;
    }
    if (!socket.sending.idle()) {
        return {};
    }
    const StartResult result = within_memory([&] { return backend_->attempt(probe, 1); });
    if (result.start == Start::failed) {
        return refused(probe, static_cast<int>(result.value));
    }
    if (result.start == Start::done) {
        note_send(socket, probe, static_cast<std::size_t>(result.value));
        went = result.value;
    }
    return {};
}

}  // namespace iocp
