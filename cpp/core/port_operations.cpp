#include "core/port_operations.hpp"

#include <cassert>

namespace iocp {

Error PortOperations::submit(Operation& op, std::int64_t timeout) {
    assert(op.socket != nullptr);
    const Error error = parts_.posting.submit(op, timeout);
    turn_.conclude(!error && !op.silent);
    return error;
}

bool PortOperations::cancel(Operation& op) {
    const bool taken = parts_.cancels.cancel(op);
    turn_.conclude(taken);
    return taken;
}

unsigned PortOperations::cancel_all(Socket& socket) {
    const unsigned count = parts_.cancels.cancel_all(socket);
    turn_.conclude(count != 0);
    return count;
}

Error PortOperations::try_receive(Socket& socket, std::byte* data, std::size_t length,
                                  std::int64_t& got) {
    const Error error = parts_.posting.try_receive(socket, data, length, got);
    turn_.conclude(false);
    return error;
}

Error PortOperations::try_send(Socket& socket, const std::byte* data, std::size_t length,
                               std::int64_t& went) {
    const Error error = parts_.posting.try_send(socket, data, length, went);
    turn_.conclude(false);
    return error;
}

bool PortOperations::append(Socket& socket, const std::byte* data, std::size_t length) {
    const bool added = socket.state == SocketState::open && !socket.failure && !socket.send_shut &&
                       parts_.flow.append(socket, data, length);
    turn_.conclude(false);
    return added;
}

Error PortOperations::register_memory(std::size_t bytes, std::byte*& out) {
    if (parts_.sockets.closing()) {
        return port_is_closed;
    }
    const Error error = parts_.registered.add(bytes, out);
    parts_.metrics.counts.refusals += error.fault == Fault::budget ? 1 : 0;
    return error;
}

void PortOperations::unregister(std::byte* data) {
    parts_.registered.remove(data);
    turn_.conclude();
}

Error PortOperations::post_packet(void* user) {
    if (parts_.sockets.closing()) {
        return port_is_closed;
    }
    if (!parts_.completions.reserve(1)) {
        return Error::of(Fault::resource, "no memory for a posted packet");
    }
    Ready ready;
    ready.what = Ready::What::packet;
    ready.user = user;
    parts_.completions.push(std::move(ready));
    turn_.conclude();
    return {};
}

}  // namespace iocp
