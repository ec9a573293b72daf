// Port: notices sends that wait for a delayed acknowledgement (R19).
#include "backend/families.hpp"
#include "backend/option.hpp"
#include "core/port.hpp"

namespace iocp {

namespace {

// What one segment carries over Ethernet, with time stamps: less than this is less than a segment
// wherever the way leads.
constexpr std::size_t segment = 1448;

}  // namespace

// Switches Nagle's algorithm off, where the socket has it; a system that refuses leaves it on.
void Port::set_nodelay(Socket& socket) {
    if (!socket.stream || (socket.family != family_inet && socket.family != family_inet6)) {
        return;
    }
    const int on = 1;
    (void)backend_->set_option(socket, option_nodelay.level, option_nodelay.name, &on, sizeof on);
}

// The system has taken `bytes` of a request that `op` heads; called before they are accounted. A
// send with flags is not counted: MSG_MORE and its like say that its caller minds the segments.
void Port::note_send(Socket& socket, const Operation& op, std::size_t bytes) {
    if (socket.nagle.settled || !socket.stream) {
        return;
    }
    socket.nagle.sent(bytes < segment && op.flags == 0 && op.transferred == 0);
    if (!socket.receiving.idle()) {
        note_wait(socket);
    }
}

// A receive waits for data on this socket.
void Port::note_wait(Socket& socket) {
    if (!socket.nagle.due() || !socket.nagle.answered(backend_->nagle(socket))) {
        return;
    }
    if (counts_.nagle_stalls++ == 0 && ready_.reserve(1)) {
        Ready ready;
        ready.what = Ready::What::nagle_stall;
        push(std::move(ready));
    }
}

}  // namespace iocp
