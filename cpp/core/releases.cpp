#include "core/releases.hpp"

namespace iocp {

void Releases::end(Operation& op) noexcept {
    if (op.releases != 0) {
        op.releasing = true;
        ++op.socket->releasing;
        ++unreleased_;
        return;
    }
    complete(op);
}

void Releases::complete(Operation& op) noexcept {
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

void Releases::released(Operation& op) noexcept {
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
    complete(op);
    work_.add(socket, socket.state == SocketState::closed ? effect::hand_out : effect::sends_moved);
}

// Resets the connections of all sends that wait for a release. The application gets their memory
// back, so no unacknowledged byte may be sent from it any more. A send that is partly sent is still
// in its lane, and ends with its socket.
void Releases::lose() {
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

}  // namespace iocp
