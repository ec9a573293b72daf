#include "core/posting.hpp"

#include "backend/families.hpp"

namespace iocp {

namespace {

constexpr const char* refused_receive_flags =
    "a receive takes the flags MSG_PEEK and MSG_WAITALL, MSG_OOB on a stream, and on Linux "
    "MSG_TRUNC on datagrams and MSG_ERRQUEUE on AF_INET and AF_INET6; no operation needs "
    "MSG_DONTWAIT";
constexpr const char* refused_send_flags =
    "a send takes the flags MSG_OOB on a stream, MSG_DONTROUTE on AF_INET and AF_INET6, and on "
    "Linux MSG_MORE on streams and UDP, MSG_CONFIRM on UDP, MSG_EOR on SOCK_SEQPACKET and "
    "MSG_NOSIGNAL; no operation needs MSG_DONTWAIT";

// Returns whether the send waits for the next flush, which sends it together with other sends of
// the turn. A stream with a subscription is used at the stream level, where callbacks often send
// several times.
bool shares_flush(const Operation& op, const Socket& socket) noexcept {
    return socket.stream && socket.subscribed && !op.is_message && !op.from_file;
}

bool attempts_first(const Operation& op, const Lane& lane) noexcept {
    return lane.idle() && !op.batched && !op.subscription() && op.kind != OperationKind::connect &&
           op.kind != OperationKind::disconnect && !op.direct;
}

}  // namespace

Error Posting::check(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    if (sockets_.closing()) {
        return port_is_closed;
    }
    if (socket.state != SocketState::open) {
        return Error::of(Fault::socket_closed, "the socket is closed; nothing more can be posted");
    }
    if (Error error = check_connection(op)) {
        return error;
    }
    if ((op.flags & ~backend_.flags_taken(socket, op.sending())) != 0) {
        return Error::of(Fault::argument,
                         op.sending() ? refused_send_flags : refused_receive_flags);
    }
    return op.sending() ? check_sending(op) : check_receiving(op);
}

// Rejects posts that the state of the connection does not allow, such as posts behind a disconnect
// (R32).
Error Posting::check_connection(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    if (socket.watched && op.kind != OperationKind::zero_byte &&
        op.kind != OperationKind::writable) {
        return only_watched;
    }
    const Operation* last = socket.sending.tail;
    if (last != nullptr && last->kind == OperationKind::disconnect &&
        (op.sending() || last->reuse)) {
        return Error::of(Fault::socket_closed,
                         "a disconnect is outstanding; post again when it has completed");
    }
    if (op.from_file && !socket.stream) {
        return Error::of(Fault::argument, "send_file() needs a stream socket");
    }
    if (op.kind != OperationKind::disconnect) {
        return {};
    }
    const Operation* first = socket.sending.head;
    const bool connecting = first != nullptr && first->kind == OperationKind::connect;
    if (!socket.stream || !(socket.connected || connecting)) {
        return Error::of(Fault::argument, "disconnect() needs a connected stream socket");
    }
    if (!op.reuse) {
        return {};
    }
    if (socket.family != family_inet && socket.family != family_inet6) {
        return Error::of(Fault::argument,
                         "no socket of this family can be used again; disconnect without reuse, "
                         "and open another");
    }
    if (!socket.receiving.idle()) {
        return Error::of(
            Fault::argument,
            "receives are outstanding, and would take data of the next connection; let "
            "them complete, or cancel them, before a disconnect with reuse");
    }
    return {};
}

Error Posting::check_sending(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    if (socket.failure) {
        return socket.failure;
    }
    if (socket.send_shut && op.kind != OperationKind::disconnect) {
        return Error::of(Fault::socket_closed,
                         "the socket was shut down for writing; nothing more can be sent");
    }
    return socket.send_cut ? send_was_cut : Error{};
}

Error Posting::check_receiving(const Operation& op) const noexcept {
    // An operation may follow a cancelled subscription. It starts when the subscription's request
    // has ended.
    const Operation* last = op.socket->receiving.tail;
    const bool stands = last != nullptr && last->subscription();
    if (stands && !last->cancel_requested) {
        return Error::of(Fault::argument,
                         "the socket has a subscription (receive or accept_each); cancel it before "
                         "posting other operations of this direction");
    }
    if (op.subscription() && last != nullptr && !stands) {
        return Error::of(Fault::argument,
                         "operations of this direction are outstanding; start a subscription when "
                         "they have completed");
    }
    return op.kind == OperationKind::receive_each ? check_subscription(op) : Error{};
}

Error Posting::check_subscription(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    const bool each_datagram = op.strategy == ReceiveStrategy::datagrams;
    if (socket.stream == each_datagram) {
        return Error::of(Fault::argument, each_datagram
                                              ? "receive_from() is for datagrams; a stream is "
                                                "received with receive()"
                                              : "receive() needs a stream socket; datagrams are "
                                                "received with receive_from()");
    }
    if (each_datagram && op.block_size > max_datagram_) {
        return Error::of(
            Fault::argument,
            "size must not be larger than a region of the port's memory; ask for less, "
            "or raise the port's region_size");
    }
    const Operation* sending = socket.sending.head;
    if (socket.stream && !socket.connected &&
        (sending == nullptr || sending->kind != OperationKind::connect)) {
        return Error::of(Fault::argument, "the socket is not connected; connect it first");
    }
    return {};
}

// Returns the error of a post that the system refused with `code`. A fatal error also ends the
// socket (R05).
Error Posting::refused(const Operation& op, int code) noexcept {
    if (backend_.fatal(op, code)) {
        queue_.fail_by(op, code);
    }
    return calls_.error(code);
}

// Notes that a receive, tried by its post or by try_receive(), met the end of the stream. If an
// error ended the connection, returns that error.
Error Posting::end_met(const Operation& op) noexcept {
    Socket& socket = *op.socket;
    if (!socket.stream || op.kind != OperationKind::receive) {
        return {};
    }
    const Error masked = Endings::fails(op) ? socket.failure : Error{};
    socket.read_ended = socket.read_ended || !masked;
    return masked;
}

// Tries the operation once without waiting. Sets `done` if the operation is complete; otherwise the
// caller must charge and start the rest.
Error Posting::attempt(Operation& op, bool& done) {
    Socket& socket = *op.socket;
    if (op.kind == OperationKind::accept && !sockets_.room()) {
        return no_socket;
    }
    const StartResult result = calls_.attempt(op, 1);
    if (result.start == Start::failed &&
        !admission_.waits_for_resources(static_cast<int>(result.value), queue_.outstanding())) {
        return refused(op, static_cast<int>(result.value));
    }
    if (result.start != Start::done) {
        op.attempted = true;
        if (!op.sending()) {
            flow_.note_wait(socket);
        }
        return {};
    }
    const auto bytes = static_cast<std::size_t>(result.value);
    if (op.kind == OperationKind::accept) {
        op.accepted = sockets_.accepted(socket, result.accepted);
        if (op.accepted == nullptr) {
            return no_socket;
        }
    } else if (op.kind == OperationKind::send && !op.from_file) {
        flow_.note_send(socket, op, bytes);
    } else if (!op.sending()) {
        socket.nagle.heard();
    }
    if (bytes == 0) {
        if (Error error = end_met(op)) {
            work_.add(socket, effect::settle);
            return error;
        }
    }
    op.advance(bytes);
    op.answer = result.flags;
    done = op.kind == OperationKind::send ? op.remaining() == 0 || !socket.stream
                                          : !IoQueue::goes_on(op, bytes);
    return {};
}

Error Posting::submit(Operation& op, std::int64_t timeout) {
    Socket& socket = *op.socket;
    if (Error error = check(op)) {
        return error;
    }
    op.waits_for_all = op.kind == OperationKind::receive && socket.stream &&
                       backend_.waits_for_all(op.flags) &&
                       (!op.is_message || op.message()->control == nullptr);
    if (op.kind == OperationKind::send) {
        if (Error error = flow_.prepare(op)) {
            return error;
        }
        op.batched = op.batched || shares_flush(op, socket);
    }
    // Reserves one timer for the operation's deadline, and one for the patience of the budget
    // queue, in case the post is held.
    if (timeout >= 0 && !timers_.reserve(2)) {
        return no_timer;
    }
    const bool others = queue_.outstanding() != 0;
    Lane& lane = socket.lane_of(op);
    if (attempts_first(op, lane)) {
        bool done = false;
        if (!admission_.could_fit(op)) {
            return admission_.charge(op, others);  // refuses the post before a byte is sent
        }
        if (Error failed = attempt(op, done)) {
            return failed;
        }
        if (done) {
            queue_.accept(op, Outcome::done, timeout);
            op.silent = socket.skip_done && !op.notifies;
            endings_.finish(op, {});
            if (socket.failure) {
                work_.add(socket, effect::settle);
            }
            return {};
        }
    }
    if (op.subscription()) {
        completions_.end_pause(socket);
        timeout = -1;  // a subscription has no timeout, and each of its buffers a charge
    } else if (Error error = admission_.charge(op, others)) {
        return error;
    }
    const bool behind = !lane.idle() || op.batched || op.held;
    queue_.accept(op, behind ? Outcome::queued : Outcome::pending, timeout);
    lane.push(op);
    Effects effects = effect::of_moved_sends(socket);
    if (op.batched) {
        if (lane.started == 0) {
            flow_.flush_later(socket);
        }
    } else if (!behind) {
        effects |= effect::start(socket, lane);
    }
    work_.add(socket, effects);
    return {};
}

Error Posting::try_receive(Socket& socket, std::byte* data, std::size_t length, std::int64_t& got) {
    got = -1;
    if (socket.state != SocketState::open) {
        return socket_is_closed;
    }
    if (socket.watched) {
        return only_watched;
    }
    if (!socket.receiving.idle()) {
        return {};  // earlier posts come first
    }
    const StartResult result =
        calls_.within_memory([&] { return backend_.read(socket, data, length); });
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
            work_.add(socket, effect::settle);
        }
        return error;
    }
    return {};
}

Error Posting::try_send(Socket& socket, const std::byte* data, std::size_t length,
                        std::int64_t& went) {
    went = 0;
    Operation probe;
    probe.socket = &socket;
    probe.kind = OperationKind::send;
    probe.lease = {const_cast<std::byte*>(data), length, nullptr, nullptr};
    if (Error error = check(probe)) {
        return error;
    }
    if (!socket.sending.idle()) {
        return {};
    }
    const StartResult result = calls_.attempt(probe, 1);
    if (result.start == Start::failed) {
        return refused(probe, static_cast<int>(result.value));
    }
    if (result.start == Start::done) {
        flow_.note_send(socket, probe, static_cast<std::size_t>(result.value));
        went = result.value;
    }
    return {};
}

}  // namespace iocp
