#include "core/cancels.hpp"

namespace iocp {

Error Cancels::error_of(const Operation& op) noexcept {
    if (Endings::fails(op)) {
        return op.socket->failure;
    }
    return op.timed_out ? Error::of(Fault::timed_out, "the operation's timeout passed")
                        : Error::of(Fault::cancelled, "the operation was cancelled");
}

// Any cancelled operation that is still in the lane is at its front, because all others end at once
// when they are cancelled. So the operations behind them are not walked.
void Cancels::finish_cancelled(Lane& lane) noexcept {
    Operation* op = lane.head;
    while (lane.cancels != 0) {
        Operation* next = op->next;
        if (op->cancel_requested) {
            const bool cut =
                op->kind == OperationKind::send && op->transferred != 0 && !op->divisible;
            lane.unlink(*op);
            if (op->kind == OperationKind::connect) {
                endings_.end_connect(lane, *op, error_of(*op), false);
                op = lane.head;  // end_connect() has changed the lane
                continue;
            }
            endings_.finish(*op, error_of(*op));
            if (cut) {
                op->socket->send_cut = true;
                endings_.refuse_rest(lane,
                                     Error::of(Fault::cancelled,
                                               "an earlier send of the stream was cut part-way, "
                                               "so this one was not sent; close the socket"));
                return;
            }
        }
        op = next;
    }
}

bool Cancels::cancel(Operation& op) noexcept {
    if (op.finished() || op.cancel_requested || op.state.load() == State::idle) {
        return false;
    }
    Socket& socket = *op.socket;
    Lane& lane = socket.lane_of(op);
    if (op.releasing) {
        op.cancel_requested = true;
        metrics_.enter(op, State::cancelling);
        return true;  // all bytes of the send are sent: the cancel came too late
    }
    mark(lane, op);
    if (op.subscription()) {
        completions_.end_pause(socket);  // kept results are handed out before the end
    }
    const bool first = lane.head == &op;
    if (lane.has_started(op)) {
        calls_.cancel(*lane.head);
    } else if (op.kind != OperationKind::send || op.transferred == 0 || !first) {
        lane.unlink(op);
        if (op.kind == OperationKind::connect && first) {
            endings_.end_connect(lane, op, error_of(op), false);
        } else {
            endings_.finish(op, error_of(op));
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

unsigned Cancels::cancel_all(Socket& socket) noexcept {
    unsigned count = 0;
    for (Lane* lane : {&socket.sending, &socket.receiving}) {
        while (lane->tail != nullptr && !lane->has_started(*lane->tail) && cancel(*lane->tail)) {
            ++count;
        }
        Operation* op = lane->head;
        for (unsigned i = 0; i < lane->started; ++i, op = op->next) {
            count += cancel(*op) ? 1U : 0U;  // a started operation stays until its packet comes
        }
    }
    return count;
}

void Cancels::cancel_lane(Lane& lane) noexcept {
    Operation* at = lane.head;
    for (unsigned i = 0; i < lane.started; ++i, at = at->next) {
        mark(lane, *at);
    }
    if (lane.started != 0) {
        calls_.cancel(*lane.head);
    }
    while (at != nullptr) {
        Operation& op = *at;
        at = op.next;
        mark(lane, op);
        lane.unlink(op);
        endings_.finish(op, error_of(op));
    }
}

// The disconnect may already be started, although the kernel still reads the memory of earlier
// direct sends.
void Cancels::drop_disconnect(Socket& socket) noexcept {
    Lane& lane = socket.sending;
    Operation* last = lane.tail;
    if (last == nullptr || last->kind != OperationKind::disconnect) {
        return;
    }
    if (lane.head == last && lane.started != 0) {
        mark(lane, *last);
        calls_.cancel(*last);
    } else {
        lane.unlink(*last);
        endings_.finish(*last, error_of(*last));
    }
}

void Cancels::ask_again() noexcept {
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

}  // namespace iocp
