// IocpBackend: calls that do not wait.
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"
#include "backend/windows/socket_calls.hpp"
#include "backend/windows/stream_end.hpp"

namespace iocp {

// Reports the error of an earlier readiness wait once no byte is left to receive. Bytes that
// arrived before the error are returned first.
StartResult IocpBackend::before_error(const Socket& socket, const StartResult& result) noexcept {
    if (result.start == Start::done && result.value > 0) {
        return result;
    }
    const int code = members_.take_error(socket);
    return code != 0 ? failed(code) : result;
}

StartResult IocpBackend::receive_now(Operation& op) {
    const Socket& socket = *op.socket;
    if (const int code = socket.stream ? 0 : members_.take_error(socket); code != 0) {
        return failed(code);
    }
    CallBuffers buffers;
    buffers.add(op);
    DWORD bytes = 0;
    const int returned = call_receive(op, buffers, receive_flags(op), bytes, nullptr);
    StartResult result =
        before_error(socket, checked(socket, received(returned, bytes, socket.stream)));
    if (result.start == Start::failed && result.value == WSAEMSGSIZE) {
        result = cut(op.remaining());
    }
    if (result.start == Start::done) {
        take_sender(op);
    }
    return result;
}

StartResult IocpBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    if (const int code = socket.stream ? 0 : members_.take_error(socket); code != 0) {
        return failed(code);
    }
    if (is_pipe(socket)) {
        return pipe_reader_.read(handle_of(socket_of(socket)), data, length);
    }
    CallBuffers buffers;
    buffers.add(data, length);
    DWORD bytes = 0;
    DWORD flags = 0;
    const int returned =
        winsock_.receive(socket_of(socket), buffers.data(), 1, &bytes, &flags, nullptr, nullptr);
    return before_error(socket, checked(socket, received(returned, bytes, socket.stream)));
}

StartResult IocpBackend::send_now(Operation& op, unsigned count) {
    if (!can_send(*op.socket)) {
        return failed(WSAENOTCONN);
    }
    CallBuffers buffers;
    buffers.add(op, count);
    DWORD bytes = 0;
    const int returned = call_send(op, buffers, bytes, nullptr);
    return came_to(returned, bytes, op.socket->stream);
}

StartResult IocpBackend::accept_now(Operation& op) {
    const Socket& socket = *op.socket;
    const SOCKET made = winsock_.accept(socket_of(socket), nullptr, nullptr);
    if (made == INVALID_SOCKET) {
        return came_to(SOCKET_ERROR, 0, socket.stream);
    }
    if (const int code = own(made); code != 0) {
        (void)winsock_.close(made);
        return failed(code);
    }
    // Asks for the peer after the accept. With an address accept() would fail for a connection that
    // is over, and drop it.
    if (Message* message = op.message()) {
        message->address = peer_of(made);
    }
    return {Start::done, 0, static_cast<Handle>(made)};
}

StartResult IocpBackend::attempt(Operation& op, unsigned count) {
    if (is_pipe(*op.socket)) {
        return attempt_on_pipe(op);
    }
    if (is_object(*op.socket)) {
        return attempt_on_object(op);
    }
    switch (op.kind) {
        case OperationKind::receive:
            return receive_now(op);
        case OperationKind::zero_byte:
            break;
        case OperationKind::receive_each:
            if (!op.readiness_only) {
                return receive_now(op);
            }
            break;
        case OperationKind::send:
            return op.from_file ? StartResult{} : send_now(op, count);
        case OperationKind::accept:
        case OperationKind::accept_each: {
            const Listener* listener = listeners_.find(op.socket->id);
            return listener != nullptr && !listener->arrived.empty() ? listeners_.accept(op)
                                                                     : accept_now(op);
        }
        case OperationKind::connect:
        case OperationKind::disconnect:
            return {};
        case OperationKind::writable:
            break;
    }
    const SHORT events = op.kind == OperationKind::writable ? POLLWRNORM : POLLRDNORM;
    WSAPOLLFD entry{socket_of(*op.socket), events, 0};
    if (::WSAPoll(&entry, 1, 0) < 0) {
        return failed(last_error());
    }
    // POLLHUP also reports that the peer has shut down its side, which makes no room to send. If
    // POLLHUP is alone, the attempt is pending, and the wait for room asks AFD.
    const int found = op.kind == OperationKind::writable ? entry.revents & ~POLLHUP : entry.revents;
    return {found != 0 ? Start::done : Start::pending, 0};
}

}  // namespace iocp
