// IocpBackend: starts the requests of operations.
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"
#include "backend/windows/stream_end.hpp"

namespace iocp {

Request* IocpBackend::new_request(Operation& op) noexcept {
    Request* request = requests_.take();
    if (request != nullptr) {
        request->socket = op.socket->id;
        request->operation = op.id;
        request->kind = op.kind;
        request->readiness_only = op.readiness_only || op.kind == OperationKind::zero_byte;
    }
    return request;
}

// Returns the result of the call that started a request. The kernel owns the request until its
// packet. If no packet will follow, the request returns to the pool.
StartResult IocpBackend::started(Operation& op, Request& request, bool at_once, DWORD bytes) {
    Member& member = *members_.find(op.socket->id);
    const int code = at_once ? 0 : code_of_socket(last_error(), member.stream);
    if (at_once && member.skips) {
        requests_.give_back(request);
        return {Start::done, static_cast<std::int64_t>(bytes)};
    }
    if (at_once || code == WSA_IO_PENDING) {
        (op.sending() ? member.sending : member.receiving) = &request;
        return {};
    }
    if (code == WSAEMSGSIZE && !op.sending()) {
        // The datagram was longer than the buffer. The call fails, but its packet is queued as
        // well.
        request.answered = true;
        return request.readiness_only ? StartResult{Start::done, 0} : cut(op.remaining());
    }
    requests_.give_back(request);
    return failed(code);
}

StartResult IocpBackend::receive(Operation& op) {
    if (op.socket->watched) {
        return wait_until_ready(op);
    }
    Member& member = *members_.find(op.socket->id);
    if (op.readiness_only && op.kind == OperationKind::receive) {
        return watch(op);
    }
    if (op.readiness_only || op.kind == OperationKind::zero_byte) {
        return look(op);
    }
    if (member.pending_error != 0) {
        return receive_now(op);  // never pending: returns data or that error
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    buffers.add(op);
    DWORD bytes = 0;
    const bool at_once =
        call_receive(op, buffers, receive_flags(op), bytes, &request->overlapped) == 0;
    const StartResult result = checked(*op.socket, started(op, *request, at_once, bytes));
    if (result.start == Start::done) {
        take_sender(op);
    }
    return result;
}

// Starts a readiness wait. A datagram socket's error counts as readiness: the following read
// returns it.
StartResult IocpBackend::look(Operation& op) {
    Member& member = *members_.find(op.socket->id);
    if (member.pending_error != 0) {
        return {Start::done, 0};
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    WSABUF* first = buffers.data();
    // A receive with an empty buffer would take and lose a datagram, so on a datagram socket the
    // readiness wait peeks.
    DWORD flags = op.socket->stream ? 0 : MSG_PEEK;
    DWORD bytes = 0;
    const bool at_once = winsock_.receive(socket_of(*op.socket), first, buffers.count(), &bytes,
                                          &flags, &request->overlapped, nullptr) == 0;
    const StartResult result = started(op, *request, at_once, bytes);
    if (result.start == Start::failed && !op.socket->stream) {
        member.pending_error = static_cast<int>(result.value);
        return {Start::done, 0};
    }
    return result;
}

// Starts a receive as a readiness wait. If the socket is readable already, reads at once, because a
// receive that is done must have its bytes. If that read finds nothing, the next turn starts the
// receive again.
StartResult IocpBackend::watch(Operation& op) {
    const StartResult seen = look(op);
    if (seen.start != Start::done) {
        return seen;
    }
    const StartResult read = receive_now(op);
    return read.start == Start::pending ? start_again(op) : read;
}

// Has the core start the operation again in the next turn.
StartResult IocpBackend::start_again(const Operation& op) {
    Packet packet;
    packet.operation = op.id;
    packet.ready = true;
    answers_.push_back(std::move(packet));
    return {};
}

StartResult IocpBackend::send(Operation& op, unsigned count) {
    if (!can_send(*op.socket)) {
        return failed(WSAENOTCONN);
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    buffers.add(op, count);
    DWORD bytes = 0;
    const bool at_once = call_send(op, buffers, bytes, &request->overlapped) == 0;
    return started(op, *request, at_once, bytes);
}

StartResult IocpBackend::connect(Operation& op) {
    Socket& socket = *op.socket;
    const auto& address = *reinterpret_cast<const Address*>(op.lease.data);
    const auto* where = reinterpret_cast<const sockaddr*>(address.bytes.data());
    const SOCKET handle = socket_of(socket);
    op.asked = true;
    if (!socket.stream) {
        return winsock_.connect(handle, where, static_cast<int>(address.length)) == 0
                   ? StartResult{Start::done, 0}
                   : failed(last_error());
    }
    // ConnectEx needs a bound socket.
    sockaddr_storage own_name{};
    int length = sizeof own_name;
    if (::getsockname(handle, reinterpret_cast<sockaddr*>(&own_name), &length) != 0 ||
        own_name.ss_family == 0) {
        own_name = {};
        own_name.ss_family = static_cast<ADDRESS_FAMILY>(socket.family);
        length = socket.family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if (winsock_.bind(handle, reinterpret_cast<const sockaddr*>(&own_name), length) != 0) {
            return failed(last_error());
        }
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    DWORD bytes = 0;
    const bool at_once = winsock_.connect_ex(handle, where, static_cast<int>(address.length),
                                             nullptr, 0, &bytes, &request->overlapped) != FALSE;
    const StartResult result = started(op, *request, at_once, 0);
    if (result.start != Start::done) {
        return result;
    }
    const int code = connected(handle);
    return code == 0 ? result : failed(code);
}

// Sets SO_UPDATE_CONNECT_CONTEXT. Without it a socket that ConnectEx connected has no peer and
// cannot be shut down (Microsoft, ConnectEx, remarks).
int IocpBackend::connected(SOCKET socket) const noexcept {
    return winsock_.set_option(socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0) == 0
               ? 0
               : last_error();
}

// A cancelled ConnectEx leaves a socket that cannot connect again, and the host system under Wine
// 8.0 continues the attempt. Only closing the socket ends the attempt. A peer that was reached gets
// a reset.
int IocpBackend::withdraw(Operation& op) {
    if (!op.asked || !op.socket->stream) {
        return 0;
    }
    reset_on_close(*op.socket);
    return WSAECONNABORTED;
}

StartResult IocpBackend::start(Operation& op, unsigned count) {
    if (const int code = members_.join(*op.socket); code != 0) {
        return failed(code);
    }
    if (is_pipe(*op.socket)) {
        return start_on_pipe(op);
    }
    if (is_object(*op.socket)) {
        return wait_for_object(op);
    }
    switch (op.kind) {
        case OperationKind::receive:
        case OperationKind::zero_byte:
        case OperationKind::receive_each:
            return receive(op);
        case OperationKind::send:
            if (op.from_file) {
                return send_file(op);
            }
            return op.readiness_only ? wait_until_ready(op) : send(op, count);
        case OperationKind::connect:
            return connect(op);
        case OperationKind::disconnect:
            return disconnect(op);
        case OperationKind::writable:
            return wait_until_ready(op);
        case OperationKind::accept:
        case OperationKind::accept_each:
            return listeners_.accept(op);
    }
    return failed(WSAEINVAL);
}

StartResult IocpBackend::wait_until_ready(Operation& op) {
    if (const int code = readiness_.open(); code != 0) {
        return failed(code);
    }
    Member& member = *members_.find(op.socket->id);
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    if (const int code = readiness_.start(member.socket, op.sending(), *request); code != 0) {
        requests_.give_back(*request);
        return failed(code);
    }
    (op.sending() ? member.sending : member.receiving) = request;
    return {};
}

}  // namespace iocp
