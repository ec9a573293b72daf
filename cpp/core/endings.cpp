#include "core/endings.hpp"

namespace iocp {

void Endings::finish(Operation& op, Error error) noexcept {
    op.error = error;
    op.ended = true;
    admission_.unhold(op);
    if (op.outcome != Outcome::done) {
        flow_.ended(op);
    }
    timers_.disarm(op.deadline);
    releases_.end(op);
}

void Endings::refuse_rest(Lane& lane, Error error) noexcept {
    while (lane.head != nullptr) {
        Operation& op = lane.pop();
        finish(op, error);
    }
}

// Makes the system give up the connection attempt, because a later connect would get its result.
// Ends the sends queued behind the connect, up to the next connect. Fails the socket if receives
// are queued, because no data can reach them, or if the system does not give the attempt up.
void Endings::end_connect(Lane& lane, Operation& op, Error error, bool answered) noexcept {
    Socket& socket = *op.socket;
    const int code = answered || socket.connected ? 0 : calls_.withdraw(op);
    finish(op, error);
    if (socket.connected) {
        return;  // an earlier connect made the connection, which stays
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

}  // namespace iocp
