// Port: connects that end without a connection.
#include "core/port.hpp"

namespace iocp {

// The one place where a connect fails. It leaves nothing behind: no attempt of the system's, which
// a later connect would take for its own, no send that waited for the connection, and no receive
// that nothing would reach. `answered`: the system said itself that the attempt is over.
// Precondition: the operation has left its lane, and nothing of the lane is started.
void Port::end_connect(Lane& lane, Operation& op, Error error, bool answered) {
    Socket& socket = *op.socket;
    const int code = answered || socket.connected ? 0 : backend_->withdraw(op);
    finish(op, error);
    if (socket.connected) {
        return;  // an earlier connect has succeeded, and the connection is not this one's
    }
    if (socket.stream) {
        while (lane.head != nullptr && lane.head->kind != Kind::connect) {
            finish(lane.pop(), error);
        }
    }
    if (socket.stream && !socket.receiving.idle()) {
        fail_socket(socket, error);
    } else if (code != 0) {
        fail_socket(socket, system_error(code));
    }
}

}  // namespace iocp
