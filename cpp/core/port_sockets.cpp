#include "core/port_sockets.hpp"

#include <cassert>

namespace iocp {

Error PortSockets::open(int family, int type, int protocol, Socket*& out) {
    return parts_.sockets.open(family, type, protocol, out);
}

Error PortSockets::adopt(const Adopted& adopted, Socket*& out) {
    return parts_.sockets.adopt(adopted, out);
}

Error PortSockets::watch(Handle handle, Socket*& out) { return parts_.sockets.watch(handle, out); }

Error PortSockets::watch_object(Handle handle, Socket*& out) {
    return parts_.sockets.watch_object(handle, out);
}

void PortSockets::close(Socket& socket, std::int64_t timeout) {
    parts_.lifecycle.close(socket, timeout);
    turn_.conclude();
}

void PortSockets::abort(Socket& socket) {
    parts_.lifecycle.abort(socket);
    turn_.conclude();
}

void PortSockets::end_with(Socket& socket, Error error) {
    assert(error);
    parts_.work.fail(socket, error);
    turn_.conclude();
}

void PortSockets::detach(Socket& socket) {
    assert(socket.state == SocketState::open && socket.releasing == 0);
    parts_.lifecycle.detach(socket);
    turn_.conclude();
}

Error PortSockets::shutdown(Socket& socket, bool receiving, bool sending) {
    const Error error = parts_.lifecycle.shutdown(socket, receiving, sending);
    turn_.conclude(false);
    return error;
}

void PortSockets::claim(Socket& accepted) {
    parts_.lifecycle.claim(accepted);
    turn_.conclude(false);
}

void PortSockets::refuse(Socket& accepted) {
    parts_.lifecycle.refuse(accepted);
    turn_.conclude(false);
}

void PortSockets::retire(Socket& socket) noexcept {
    assert(socket.state == SocketState::closed && !socket.unclaimed);
    parts_.work.forget(socket);
    parts_.flow.forget(socket);
    parts_.standing.forget(socket);
    parts_.completions.forget(socket);
    parts_.socket_table.give_back(socket);
}

Error PortSockets::set_send_strategy(Socket& socket, SendStrategy strategy) {
    return parts_.flow.set_strategy(socket, strategy);
}

void PortSockets::set_marks(Socket& socket, SendMarks marks) {
    socket.marks = marks;
    parts_.work.add(socket, effect::sends_moved);
    turn_.conclude();
}

void PortSockets::flush(Socket& socket) {
    parts_.flow.forget(socket);
    if (socket.live()) {
        parts_.queue.send_now(socket);
    }
    turn_.conclude();
}

void PortSockets::expect_fall(Socket& socket, std::uint32_t bytes) {
    parts_.flow.expect_fall(socket, bytes);
    turn_.conclude();
}

Error PortSockets::set_receive_strategy(Socket& socket, std::optional<ReceiveStrategy> strategy) {
    const Error error = parts_.subscriptions.set_strategy(socket, strategy);
    turn_.conclude(!error);
    return error;
}

bool PortSockets::pause_reading(Socket& socket) {
    const bool changed = !closing() && parts_.subscriptions.pause(socket);
    turn_.conclude(changed);
    return changed;
}

bool PortSockets::resume_reading(Socket& socket) {
    const bool changed = parts_.subscriptions.resume(socket);
    turn_.conclude(changed);
    return changed;
}

void PortSockets::resume_later(Socket& socket) {
    parts_.completions.resume_later(socket);
    turn_.conclude(socket.resuming);
}

}  // namespace iocp
