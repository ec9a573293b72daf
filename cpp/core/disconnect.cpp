// Port: the end of a connection whose socket stays (R32).
#include "backend/families.hpp"
#include "core/port.hpp"

namespace iocp {

// What a post may not be because of the connection it is for.
Error Port::check_connection(const Operation& op) const noexcept {
    const Socket& socket = *op.socket;
    const Operation* last = socket.sending.tail;
    if (last != nullptr && last->kind == Kind::disconnect && (op.sending() || last->reuse)) {
        return Error::of(Fault::socket_closed,
                         "a disconnect is outstanding; post again when it has completed");
    }
    if (op.from_file && !socket.stream) {
        return Error::of(Fault::argument, "send_file() needs a stream socket");
    }
    if (op.kind != Kind::disconnect) {
        return {};
    }
    const Operation* first = socket.sending.head;
    const bool connecting = first != nullptr && first->kind == Kind::connect;
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
        return Error::of(Fault::argument,
                         "receives are outstanding, and would reach the next connection; take or "
                         "cancel them before a disconnect with reuse");
    }
    return {};
}

// A socket that is to be used again is as if it had just been opened.
void Port::disconnected(const Operation& op) noexcept {
    if (op.reuse) {
        Socket& socket = *op.socket;
        socket.connected = false;
        socket.send_shut = false;
        socket.fin_sent = false;
        socket.read_ended = false;
    }
}

// A close has overtaken it. It may have begun: behind sends that went, but whose memory is read
// yet.
void Port::drop_disconnect(Socket& socket) {
    Lane& lane = socket.sending;
    Operation* last = lane.tail;
    if (last == nullptr || last->kind != Kind::disconnect) {
        return;
    }
    if (lane.head == last && lane.started != 0) {
        request_cancel(lane, *last);
        ask_cancel(*last);
    } else {
        lane.unlink(*last);
        finish(*last, cancel_error(*last));
    }
}

}  // namespace iocp
