// UringBackend: starts the requests of operations.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <new>

#include "backend/linux/call.hpp"
#include "backend/linux/message_header.hpp"
#include "backend/linux/uring_backend.hpp"

namespace iocp {

namespace {

// A bit of Socket::backend_bits, above the bits that RequestName uses. It is set once the peer was
// seen to shut down its sending side.
constexpr std::uint32_t bit_peer_ended = 1U << 12U;
// Maximum number of bytes of one request, whose length field has 32 bits. The core starts another
// request for the rest.
constexpr std::size_t max_bytes = std::size_t{1} << 30U;
// A send of at least this many bytes is first tried with a system call, while its data is warm in
// the cache. It becomes a request if that call would block.
constexpr std::size_t hot_send = std::size_t{8} << 10U;

// Returns the poll events that the operation waits for before it is attempted again.
std::uint32_t readiness_of(OperationKind kind) noexcept {
    switch (kind) {
        case OperationKind::connect:
            return POLLOUT;
        case OperationKind::disconnect:
            return POLLRDHUP;
        default:
            return POLLIN;
    }
}

}  // namespace

StartResult UringBackend::poll(Operation& op, std::uint32_t events, RequestKind kind) {
    uring::Sqe entry{};
    entry.opcode = uring::op_poll_add;
    entry.fd = fd_of(*op.socket);
    entry.op_flags = events;
    entry.user_data = begin(op, kind);
    if (exact_waits_.needed(op.id.slot)) {
        bool stands = false;
        entry.fd = exact_waits_.begin(entry.user_data, entry.fd, events, stands);
        exact_waits_.need_no_more(op.id.slot);
        entry.op_flags = POLLIN;
        const int code = entry.fd < 0 ? -entry.fd : (stands ? pending_error(*op.socket) : 0);
        if (code != 0) {
            exact_waits_.over(entry.user_data);
            in_kernel_.erase(op.id.slot);
            return failed(code);
        }
    }
    submission_.push(entry);
    return {};
}

// Returns the socket's pending error (SO_ERROR), or 0. Reading the error clears it.
int UringBackend::pending_error(Socket& socket) {
    int code = 0;
    std::size_t length = sizeof code;
    return get_option(socket, SOL_SOCKET, SO_ERROR, &code, length) == 0 ? code : 0;
}

std::uint64_t UringBackend::begin(Operation& op, RequestKind kind) {
    // Reserves memory now, because the completion of the request may add the operation to these
    // sets, and must not fail.
    exact_waits_.reserve(op.id.slot);
    would_block_.reserve(op.id.slot);
    in_kernel_.insert(op.id.slot);
    return RequestName::begin(op, kind).packed();
}

// Sets MSG_WAITALL, with which the kernel continues a partial send by itself, only for internet
// sockets, where bytes_taken() shows progress. On other sockets every part ends with a packet;
// otherwise a slow peer would look like a dead one.
void UringBackend::send(Operation& op, unsigned count) {
    const Socket& socket = *op.socket;
    uring::Sqe entry{};
    entry.fd = fd_of(socket);
    entry.op_flags = static_cast<std::uint32_t>(op.flags | MSG_NOSIGNAL |
                                                (is_internet(socket) ? MSG_WAITALL : 0));
    entry.user_data = begin(op, RequestKind::transfer);
    if (count == 1 && op.slices == 0 && !op.is_message) {
        entry.opcode = op.direct ? uring::op_send_zc : uring::op_send;
        entry.addr = reinterpret_cast<std::uint64_t>(op.lease.data + op.transferred);
        entry.len = static_cast<std::uint32_t>(std::min(op.remaining(), max_bytes));
        const int index = op.direct ? registered_.index_of(op.lease.data, op.lease.length) : -1;
        if (index >= 0) {
            entry.ioprio = uring::send_fixed_buffer;
            entry.buf_group = static_cast<std::uint16_t>(index);
        }
        submission_.push_send(entry);
        return;
    }
    std::size_t parts = 0;
    const Operation* at = &op;
    for (unsigned i = 0; i < count; ++i, at = at->next) {
        parts += at->slices != 0 ? at->slices : 1U;
    }
    auto* message =
        reinterpret_cast<msghdr*>(submission_.memory(sizeof(msghdr) + parts * sizeof(iovec)));
    auto* vector = reinterpret_cast<iovec*>(message + 1);
    const std::size_t used = list_parts(op, count, vector, parts);
    *message = header_of(op, vector, used);
    entry.opcode = op.direct ? uring::op_sendmsg_zc : uring::op_sendmsg;
    entry.addr = reinterpret_cast<std::uint64_t>(message);
    entry.len = 1;
    submission_.push_send(entry);
}

StartResult UringBackend::attempt(Operation& op, unsigned count) {
    if (op.from_file && op.remaining() != 0) {
        return {};  // the thread that owns the ring makes the attempt
    }
    const StartResult result = LinuxBackend::attempt(op, count);
    const bool reads = op.kind == OperationKind::receive ||
                       (op.kind == OperationKind::receive_each && !op.readiness_only);
    return reads ? checked(*op.socket, result) : result;
}

StartResult UringBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    return checked(socket, LinuxBackend::read(socket, data, length));
}

// The kernel continues a send with MSG_WAITALL by itself. When the kernel meets an error, it
// reports only the bytes sent before, and the socket loses the error. The next send would get
// EPIPE, and a receive the end of the stream. A connection that is closed with data to send was
// reset or timed out; ECONNRESET stands for either, because the cause can no longer be found.
int UringBackend::swallowed_error(const Socket& socket) noexcept {
    tcp_info info{};
    socklen_t length = sizeof info;
    const bool over = ::getsockopt(fd_of(socket), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
                      length > offsetof(tcp_info, tcpi_state) && info.tcpi_state == TCP_CLOSE;
    return over ? ECONNRESET : 0;
}

// Replaces the end of the stream by the connection's error, if a send that is still in the kernel
// has met an error first.
StartResult UringBackend::checked(const Socket& socket, const StartResult& result) noexcept {
    const bool end = result.start == Start::done && result.value == 0;
    const Operation* sending = socket.sending.request();
    if (!end || !socket.stream || sending == nullptr || sending->kind != OperationKind::send) {
        return result;
    }
    const int code = swallowed_error(socket);
    return code != 0 ? failed(code) : result;
}

// Calls sendfile(2) between polls, because io_uring has no such request. A splice(2) would need a
// pipe for each send, and a second request to count the bytes that left the pipe. sendfile(2) needs
// O_NONBLOCK, which a receive submitted meanwhile would see. So only the submitting thread calls
// it, between two submissions.
StartResult UringBackend::send_file(Operation& op) {
    if (op.asked) {
        const StartResult result = send_file_now(op);
        op.asked = false;
        if (result.start != Start::pending) {
            return result;
        }
    }
    op.asked = true;
    return poll(op, POLLOUT, RequestKind::ready);
}

// Starts a request. If memory runs out, removes all notes of the request, so that no packet is
// waited for, and throws.
StartResult UringBackend::start(Operation& op, unsigned count) {
    try {
        return start_request(op, count);
    } catch (const std::bad_alloc&) {
        in_kernel_.erase(op.id.slot);
        exact_waits_.over(RequestName(op.id, RequestKind::ready).packed());
        exact_waits_.over(RequestName(op.id, RequestKind::empty).packed());
        throw;
    }
}

StartResult UringBackend::start_request(Operation& op, unsigned count) {
    Socket& socket = *op.socket;
    if (goes_blind(op)) {
        return send_blind(op);
    }
    const bool would_block = would_block_.contains(op.id.slot);
    if (op.readiness_only || would_block) {
        would_block_.erase(op.id.slot);
        return poll(op, op.sending() ? POLLOUT : POLLIN | POLLRDHUP, RequestKind::ready);
    }
    switch (op.kind) {
        case OperationKind::zero_byte:
            return poll(op, POLLIN | POLLRDHUP, RequestKind::empty);
        case OperationKind::writable:
            socket.backend_bits &= ~bit_unwritable;  // the completion will report room
            return poll(op, POLLOUT, RequestKind::empty);
        case OperationKind::connect:
        case OperationKind::disconnect:
        case OperationKind::accept:
        case OperationKind::accept_each: {
            if (op.kind == OperationKind::disconnect) {
                exact_waits_.need_no_more(op.id.slot);  // a disconnect waits for the end of stream
            }
            const StartResult result = attempt(op, 1);
            return result.start == Start::pending
                       ? poll(op, readiness_of(op.kind), RequestKind::ready)
                       : result;
        }
        case OperationKind::send: {
            if (!socket.stream) {
                return send_datagram(op);
            }
            if (op.from_file) {
                return send_file(op);
            }
            std::size_t bytes = 0;
            const Operation* at = &op;
            for (unsigned i = 0; i < count; ++i, at = at->next) {
                bytes += at->remaining();
            }
            if (!op.direct && (bytes >= hot_send || (socket.backend_bits & bit_peer_ended) != 0)) {
                const StartResult result = send_hot(op, count);
                if (result.start != Start::pending || in_kernel_.contains(op.id.slot)) {
                    return result;
                }
            }
            send(op, count);
            socket.backend_bits &= ~bit_unwritable;  // the completion will report room
            return {};
        }
        case OperationKind::receive:
        case OperationKind::receive_each:
            break;
    }
    if (op.kind == OperationKind::receive && reads_notified(op)) {
        return receive_notified(op);
    }
    receive(op);
    return {};
}

// Tries a send with a system call. If that would block and the peer has shut down its side, starts
// a readiness wait. For such a peer POLLRDHUP is permanent, and the kernel would retry a waiting
// send each time it is reported. After 128 retries the send would occupy a worker thread.
StartResult UringBackend::send_hot(Operation& op, unsigned count) {
    Socket& socket = *op.socket;
    if ((socket.backend_bits & bit_unwritable) == 0) {
        const StartResult result = send_now(op, count);
        if (result.start != Start::pending) {
            return result;
        }
    }
    if ((socket.backend_bits & bit_peer_ended) == 0 &&
        poll_now(socket, POLLRDHUP).start != Start::done) {
        return {};
    }
    socket.backend_bits |= bit_peer_ended;
    socket.backend_bits &= ~bit_unwritable;  // the completion will report room
    exact_waits_.need(op.id.slot);
    const StartResult result = poll(op, POLLOUT, RequestKind::ready);
    return result.start == Start::failed ? StartResult{} : result;
}

// Sends a datagram with a system call, and uses the ring only to wait for room. If a send request
// finds no room, the kernel tries again with the bytes that the first try left over. The datagram
// would then be truncated or empty.
StartResult UringBackend::send_datagram(Operation& op) {
    const StartResult result = send_now(op, 1);
    if (result.start == Start::pending) {
        op.socket->backend_bits &= ~bit_unwritable;  // the completion will report room
        return poll(op, POLLOUT, RequestKind::ready);
    }
    return result;
}

// Waits for queued errors or urgent data by a poll, because a receive request in the kernel would
// end with ordinary bytes. A pending error outside the error queue (SO_ERROR) fails the operation.
StartResult UringBackend::receive_notified(Operation& op) {
    const StartResult result = attempt(op, 1);
    if (result.start != Start::pending) {
        return result;
    }
    if (const int code = pending_error(*op.socket); code != 0) {
        return failed(code);
    }
    return poll(op, POLLPRI, RequestKind::ready);
}

void UringBackend::receive(Operation& op) {
    uring::Sqe entry{};
    entry.opcode = uring::op_recv;
    entry.fd = fd_of(*op.socket);
    entry.user_data = begin(op, RequestKind::transfer);
    if (op.kind == OperationKind::receive_each && op.strategy == ReceiveStrategy::pooled) {
        entry.ioprio = uring::recv_multishot;
        entry.flags = uring::sqe_buffer_select;
        entry.buf_group = ProvidedRegions::group;
        standing_.began(entry.user_data, entry.fd);
        submission_.push(entry);
        return;
    }
    entry.op_flags = static_cast<std::uint32_t>(receive_flags(op));
    if (op.is_message) {
        receive_message(op, entry);
        return;
    }
    if (!op.socket->stream) {
        entry.op_flags |= static_cast<std::uint32_t>(MSG_TRUNC);  // the result is the true length
    }
    entry.addr = reinterpret_cast<std::uint64_t>(op.lease.data + op.transferred);
    entry.len = static_cast<std::uint32_t>(std::min(op.remaining(), max_bytes));
    submission_.push(entry);
}

// Starts a recvmsg request. The kernel copies the iovec list when it takes the entry, so temporary
// memory will do. It writes to the msghdr when the message arrives, so the msghdr lies in the
// Message.
void UringBackend::receive_message(Operation& op, uring::Sqe& entry) {
    auto* vector = reinterpret_cast<iovec*>(submission_.memory(op.slices * sizeof(iovec)));
    const std::size_t used = list_parts(op, 1, vector, op.slices);
    static_assert(sizeof(msghdr) <= sizeof(Message::native));
    auto* header = new (op.message()->native.data()) msghdr(header_of(op, vector, used));
    entry.opcode = uring::op_recvmsg;
    entry.addr = reinterpret_cast<std::uint64_t>(header);
    entry.len = 1;
    submission_.push(entry);
}

void UringBackend::conclude(Operation& op, Packet& packet) {
    if (packet.result < 0 || packet.ready) {
        return;
    }
    const auto room = static_cast<std::int64_t>(op.remaining());
    if (op.is_message) {
        packet.flags = take_answer(op, *reinterpret_cast<msghdr*>(op.message()->native.data()));
    } else if (packet.result > room) {
        packet.flags = MSG_TRUNC;
        packet.result = (op.flags & MSG_TRUNC) != 0 ? packet.result : room;
    }
}

}  // namespace iocp
