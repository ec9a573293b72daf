// IocpBackend: operations on pipes.
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"
#include "backend/windows/pipe.hpp"

namespace iocp {

namespace {

// Returns the first part of an operation that is still to send or fill: a pipe takes one a call.
WSABUF first_part(const Operation& op) {
    WSABUF first{0, nullptr};
    constexpr std::size_t max_bytes = std::size_t{1} << 30U;
    (void)op.each_part([&](std::byte* data, std::size_t length) {
        first = {static_cast<ULONG>(length < max_bytes ? length : max_bytes),
                 reinterpret_cast<char*>(data)};
        return length == 0;
    });
    return first;
}

// Returns whether a read would not wait, or the pipe's failure.
StartResult look_at_pipe(HANDLE pipe) noexcept {
    const std::int64_t there = bytes_in(pipe);
    if (there < 0) {
        return pipe_failure(static_cast<DWORD>(-there));
    }
    return {there == 0 ? Start::pending : Start::done, 0};
}

// Returns the failure of a request on a pipe whose packet has come. A part of a message is none:
// the next read gets the rest.
DWORD failure_on_pipe(const Request& request) noexcept {
    const auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    const DWORD code = status < 0 ? ::RtlNtStatusToDosError(status) : 0;
    return code == ERROR_MORE_DATA ? 0 : code;
}

}  // namespace

StartResult IocpBackend::attempt_on_pipe(Operation& op) {
    const HANDLE pipe = handle_of(socket_of(*op.socket));
    switch (op.kind) {
        case OperationKind::receive:
            return read_pipe_now(op);
        case OperationKind::receive_each:
            return op.readiness_only ? look_at_pipe(pipe) : read_pipe_now(op);
        case OperationKind::zero_byte:
            return look_at_pipe(pipe);
        case OperationKind::send:
            return op.from_file ? failed(WSAEOPNOTSUPP) : StartResult{};
        default:
            return failed(WSAEOPNOTSUPP);
    }
}

StartResult IocpBackend::read_pipe_now(const Operation& op) {
    const WSABUF part = first_part(op);
    return pipe_reader_.read(handle_of(socket_of(*op.socket)),
                             reinterpret_cast<std::byte*>(part.buf), part.len);
}

StartResult IocpBackend::start_on_pipe(Operation& op) {
    switch (op.kind) {
        case OperationKind::receive:
        case OperationKind::zero_byte:
        case OperationKind::receive_each:
            return read_pipe(op);
        case OperationKind::send:
            return op.from_file ? failed(WSAEOPNOTSUPP) : write_pipe(op);
        default:
            return failed(WSAEOPNOTSUPP);
    }
}

// A readiness wait is a read of no bytes, which waits for a writer's.
StartResult IocpBackend::read_pipe(Operation& op) {
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    const WSABUF part = request->readiness_only ? WSABUF{0, nullptr} : first_part(op);
    const bool at_once = winsock_.read_file(handle_of(socket_of(*op.socket)), part.buf, part.len,
                                            nullptr, &request->overlapped) != FALSE;
    const DWORD code = at_once ? 0 : ::GetLastError();
    Member& member = *members_.find(op.socket->id);
    if (code == ERROR_IO_PENDING || (at_once && !member.skips)) {
        member.receiving = request;
        return {};
    }
    const auto bytes = static_cast<std::int64_t>(request->overlapped.InternalHigh);
    const bool looked = request->readiness_only;
    if (code == ERROR_MORE_DATA) {
        request->answered = true;  // the call fails, but its packet is queued as well
    } else {
        requests_.give_back(*request);
        if (!at_once) {
            return pipe_failure(code);
        }
    }
    if (looked && op.kind == OperationKind::receive) {
        const StartResult read = read_pipe_now(op);
        return read.start == Start::pending ? start_again(op) : read;
    }
    return looked || bytes != 0 ? StartResult{Start::done, bytes} : start_again(op);
}

StartResult IocpBackend::write_pipe(Operation& op) {
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    request->readiness_only = false;  // nothing reports a pipe's room
    const WSABUF part = first_part(op);
    const bool at_once = winsock_.write_file(handle_of(socket_of(*op.socket)), part.buf, part.len,
                                             nullptr, &request->overlapped) != FALSE;
    const DWORD code = at_once ? 0 : ::GetLastError();
    Member& member = *members_.find(op.socket->id);
    if (code == ERROR_IO_PENDING || (at_once && !member.skips)) {
        member.sending = request;
        return {};
    }
    const auto bytes = static_cast<std::int64_t>(request->overlapped.InternalHigh);
    requests_.give_back(*request);
    return at_once ? StartResult{Start::done, bytes} : failed(winsock_code(code));
}

void IocpBackend::packet_of_pipe(Member& member, const Request& request, DWORD bytes,
                                 std::vector<Packet>& out) {
    const DWORD code = failure_on_pipe(request);
    Packet packet;
    packet.operation = request.operation;
    packet.result = static_cast<std::int64_t>(bytes);
    if (request.kind == OperationKind::send) {
        member.sending = nullptr;
        if (code != 0 && bytes == 0) {
            packet.result = -static_cast<std::int64_t>(winsock_code(code));
        }
    } else {
        member.receiving = nullptr;
        const bool ended = ends_pipe(code);
        if (code_cancelled(winsock_code(code)) && bytes == 0) {
            packet.result = -WSA_OPERATION_ABORTED;
        } else if (request.readiness_only) {
            packet.result = 0;
            packet.ready = true;  // the following read returns any error
        } else if (code != 0 && !ended && bytes == 0) {
            packet.result = -static_cast<std::int64_t>(winsock_code(code));
        } else {
            packet.ready = bytes == 0 && !ended;  // an empty write is no end of the stream
        }
    }
    out.push_back(std::move(packet));
}

}  // namespace iocp
