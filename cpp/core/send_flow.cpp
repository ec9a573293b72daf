#include "core/send_flow.hpp"

#include <algorithm>
#include <cstring>

#include "backend/sent_file.hpp"
#include "base/process.hpp"

namespace iocp {

namespace {

// The TCP payload of one Ethernet frame, with time stamps. A send of fewer bytes is smaller than a
// segment on every path with an MTU of 1500 or more.
constexpr std::size_t segment = 1448;
constexpr std::uint64_t max_file_bytes = std::uint64_t{1} << 47U;  // Lane::bytes has 48 bits

}  // namespace

Error SendFlow::set_strategy(Socket& socket, SendStrategy strategy) {
    if (strategy == SendStrategy::direct && !backend_.send_direct(socket, true)) {
        return Error::of(Fault::argument,
                         "this backend cannot send directly on this socket; use 'buffered' or "
                         "'when_writable'");
    }
    if (strategy != SendStrategy::direct && socket.send_strategy == SendStrategy::direct) {
        (void)backend_.send_direct(socket, false);
    }
    socket.send_strategy = strategy;
    return {};
}

// A socket with a cap takes a file of any size while its queue is not over the high mark. Without a
// high mark the queue must be under the cap. The size of the file does not count, because a queued
// file holds no memory.
Error SendFlow::prepare_file(Operation& op) {
    const Socket& socket = *op.socket;
    const std::uint64_t queued = socket.sending.bytes;
    const bool known = SentFile::of(op).length() != SentFile::unknown_length;
    op.uncounted = !known && op.lease.length > max_file_bytes;
    if (!op.uncounted && op.lease.length > max_file_bytes - std::min(queued, max_file_bytes)) {
        return Error::of(Fault::argument,
                         "files of more than 2**47 bytes in all cannot be queued on one socket; "
                         "send this one in parts, by offset and count");
    }
    const SendMarks& marks = socket.marks;
    if (marks.cap != 0 && (marks.high != 0 ? queued > marks.high : queued >= marks.cap)) {
        ++metrics_.counts.refusals;
        return Error::of(Fault::budget,
                         "too many bytes are queued on this socket to take a file; send it when "
                         "on_resume is called, or raise the socket's marks");
    }
    return {};
}

Error SendFlow::prepare_send(Operation& op) {
    const Socket& socket = *op.socket;
    const std::uint64_t cap = op.muted ? 0 : socket.marks.cap;  // nobody could take the refusal
    if (cap != 0 && (op.lease.length > cap || socket.sending.bytes > cap - op.lease.length)) {
        ++metrics_.counts.refusals;
        return Error::of(Fault::budget,
                         "the bytes queued to send would pass the socket's cap; send again when "
                         "on_resume is called, or raise the cap");
    }
    op.readiness_only = socket.send_strategy == SendStrategy::when_writable;
    op.direct = socket.send_strategy == SendStrategy::direct && op.lease.length != 0;
    return {};
}

bool SendFlow::append(Socket& socket, const std::byte* data, std::size_t length) noexcept {
    Lane& lane = socket.sending;
    Operation* op = lane.tail;
    if (op == nullptr || !op->gathers || lane.started != 0 || !awaits_flush(socket) ||
        op->transferred != 0 || length > system_page_size() - op->lease.length) {
        return false;
    }
    std::memcpy(op->lease.data + op->lease.length, data, length);
    op->lease.length += length;
    lane.bytes += length;
    bytes_to_send_ += length;
    work_.add(socket, effect::of_moved_sends(socket));
    return true;
}

void SendFlow::notify(Socket& socket) noexcept {
    if (socket.state != SocketState::open || socket.failure || !socket.crossed_mark()) {
        return;
    }
    if (!completions_.reserve(1)) {
        work_.remind();
        return;
    }
    socket.send_paused = !socket.send_paused;
    metrics_.counts.pauses += socket.send_paused ? 1 : 0;
    Ready ready;
    ready.what = socket.send_paused ? Ready::What::pause_sends : Ready::What::resume_sends;
    ready.socket = &socket;
    completions_.push(std::move(ready));
}

void SendFlow::watch_send(Socket& socket, const Operation& op, std::size_t bytes) {
    socket.nagle.sent(bytes < segment && op.flags == 0 && op.transferred == 0);
    if (!socket.receiving.idle()) {
        note_wait(socket);
    }
}

void SendFlow::watch_wait(Socket& socket) {
    if (!socket.nagle.answered(backend_.nagle(socket))) {
        return;
    }
    if (metrics_.counts.nagle_stalls++ == 0 && completions_.reserve(1)) {
        Ready ready;
        ready.what = Ready::What::nagle_stall;
        completions_.push(std::move(ready));
    }
}

}  // namespace iocp
