#include "backend/linux/uring_backend.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "backend/linux/message_header.hpp"

namespace iocp {

namespace {

// user_data is the operation's packed id; these bits of its slot say what the entry means.
constexpr std::uint64_t tag_ready = 1ULL << 31U;  // readiness: the operation is to be started again
constexpr std::uint64_t tag_empty = 1ULL
                                    << 30U;  // readiness that is the result: a zero-byte receive
constexpr unsigned tag_shift = 30;
constexpr unsigned receiving_tag_shift = 8;  // in Socket::backend_bits
constexpr unsigned sending_tag_shift = 10;
constexpr std::uint32_t bit_peer_ended = 1U << 12U;  // the peer has shut down its side: seen
constexpr std::uint64_t slot_bits = tag_empty - 1;
constexpr std::uint64_t generation_bits = ~std::uint64_t{0} << 32U;
constexpr std::uint64_t wake_token = ~std::uint64_t{0};
constexpr std::uint64_t cancel_token = ~std::uint64_t{0} - 1;  // reported only if it failed
constexpr std::int64_t cancel_pause_ns = 1'000'000;
constexpr std::size_t least_packets = 16;

constexpr std::uint32_t send_patience_us = 50;
// With more sends than these there is enough to come back for: small turns keep the caches warm.
constexpr unsigned most_patient_sends = 16;
constexpr std::size_t scratch_bytes = std::size_t{64} << 10U;
// One entry's length has 32 bits; the core goes on with the rest of a send.
constexpr std::size_t most_bytes = std::size_t{1} << 30U;
// A send of so many bytes goes out by a call at once, while its data is warm in the cache.
constexpr std::size_t hot_send = std::size_t{8} << 10U;

int fd_of(const Socket& socket) noexcept { return static_cast<int>(socket.handle); }

// What the operations that are attempted again wait for.
std::uint32_t readiness_of(Kind kind) noexcept {
    switch (kind) {
        case Kind::connect:
            return POLLOUT;
        case Kind::disconnect:
            return POLLRDHUP;
        default:
            return POLLIN;
    }
}

}  // namespace

std::unique_ptr<UringBackend> UringBackend::create(BufferPool& pool, const BackendOptions& options,
                                                   bool patient, BackendReason& why) {
    std::unique_ptr<UringBackend> made(new UringBackend(pool, options));
    made->wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->wake_fd_ < 0) {
        why = made->refusal("eventfd", errno);
        return nullptr;
    }
    std::string& reason = why.text;
    const int code = patient ? made->open_ring_in_time(reason) : made->open_ring(reason);
    if (code != 0) {
        why.code = code;
        why.exhausted = made->exhausted(code);
        return nullptr;
    }
    reason = "io_uring, " + std::to_string(made->ring_->entries()) + " entries";
    if (made->ring_->entries() < options.ring_entries) {
        reason += " (RLIMIT_MEMLOCK has no room for as many as asked for)";
    }
    if (!made->multishot_) {
        reason += made->buffer_ring_code_ == ENOMEM
                      ? ", no buffer ring (RLIMIT_MEMLOCK has no room for one)"
                      : ", no incremental buffer rings in this kernel";
    }
    return made;
}

int UringBackend::open_ring(std::string& reason) {
    auto ring = std::make_unique<uring::Ring>();
    if (const int code = ring->open(entries_, shared_, reason); code != 0) {
        return code;
    }
    ring_ = std::move(ring);
    enabled_ = shared_;
    multishot_ = provide_buffers();
    sends_direct_ = supports(uring::op_send_zc) && supports(uring::op_sendmsg_zc);
    expects_more_ = (ring_->features() & uring::feat_min_timeout) != 0;
    arm_wake();
    return 0;
}

UringBackend::~UringBackend() {
    ring_.reset();  // before the memory its requests could name
    drop_buffers();
    if (wake_fd_ >= 0) {
        (void)::close(wake_fd_);
    }
}

Capabilities UringBackend::capabilities() const noexcept {
    Capabilities result;
    result.multishot_receive = multishot_;
    result.zero_copy_send = sends_direct_;
    return result;
}

bool UringBackend::supports(std::uint8_t opcode) const {
    uring::Probe probe{};
    constexpr unsigned entries = sizeof probe.ops / sizeof probe.ops[0];
    return ring_->register_with(uring::register_probe, &probe, entries) == 0 && opcode < entries &&
           (probe.ops[opcode].flags & uring::probe_supported) != 0;
}

bool UringBackend::send_direct(Socket& socket, bool on) {
    const bool can =
        sends_direct_ && socket.stream && (socket.family == AF_INET || socket.family == AF_INET6);
    asked_direct_ = asked_direct_ || (on && can);
    return can;
}

// What the kernel charges to the lock limit for a zero-copy send, until its notification: a page
// for each whole one of its length, and two (io_uring/notif.c; measured in tests/test_truth.py).
std::uint32_t UringBackend::kernel_locked(const Operation& op) const noexcept {
    const State state = op.state.load(std::memory_order_relaxed);
    const bool in_flight =
        op.releases != 0 || (op.socket->sending.head == &op && op.socket->sending.started != 0);
    if (!op.direct || !in_flight || state == State::completed ||
        (op.slices == 0 && pin_of(op.lease.data, op.lease.length) >= 0)) {
        return 0;
    }
    return static_cast<std::uint32_t>(op.lease.length / system_page_size()) + 2;
}

std::byte* UringBackend::scratch(std::size_t bytes) {
    if (scratch_.empty() || scratch_used_ + bytes > scratch_bytes) {
        const std::size_t block = scratch_.empty() ? 0 : scratch_block_ + 1;
        if (block == scratch_.size()) {
            scratch_.push_back(std::make_unique<std::byte[]>(scratch_bytes));
        }
        scratch_block_ = block;
        scratch_used_ = 0;
    }
    std::byte* at = scratch_[scratch_block_].get() + scratch_used_;
    scratch_used_ += (bytes + 15) & ~std::size_t{15};
    return at;
}

void UringBackend::push(const uring::Sqe& entry) {
    uring::Sqe* slot = backlog_.empty() ? ring_->next() : nullptr;
    if (slot == nullptr) {
        backlog_.push_back(entry);
        return;
    }
    *slot = entry;
}

StartResult UringBackend::poll(Operation& op, std::uint32_t events, std::uint64_t tag) {
    uring::Sqe entry{};
    entry.opcode = uring::op_poll_add;
    entry.fd = fd_of(*op.socket);
    entry.op_flags = events;
    entry.user_data = user_data_of(op, tag);
    if (woken_for_nothing_.contains(op.id.slot)) {
        bool stands = false;
        entry.fd = exact_waits_.begin(entry.user_data, entry.fd, events, stands);
        woken_for_nothing_.erase(op.id.slot);
        entry.op_flags = POLLIN;
        const int code = entry.fd < 0 ? -entry.fd : (stands ? pending_error(*op.socket) : 0);
        if (code != 0) {
            exact_waits_.over(entry.user_data);
            in_kernel_.erase(op.id.slot);
            return {Start::failed, code};
        }
    }
    push(entry);
    return {};
}

// The error that the next call on the socket would get; asking takes it.
int UringBackend::pending_error(Socket& socket) {
    int code = 0;
    std::size_t length = sizeof code;
    return get_option(socket, SOL_SOCKET, SO_ERROR, &code, length) == 0 ? code : 0;
}

// A lane has one request in the kernel at most: its tag is kept with the socket, for cancel().
std::uint64_t UringBackend::user_data_of(Operation& op, std::uint64_t tag) {
    const unsigned shift = op.sending() ? sending_tag_shift : receiving_tag_shift;
    std::uint32_t& bits = op.socket->backend_bits;
    bits &= ~(3U << shift);
    bits |= static_cast<std::uint32_t>(tag >> tag_shift) << shift;
    woken_for_nothing_.reserve(op.id.slot);  // as its completion may say
    in_kernel_.insert(op.id.slot);
    return op.id.packed() | tag;
}

// The kernel goes on with the request by itself only where the socket tells how far it has got
// (bytes_taken): elsewhere every part is a packet, or a slow peer would look like a dead one.
void UringBackend::send(Operation& op, unsigned count) {
    ++queued_sends_;
    const Socket& socket = *op.socket;
    const bool counted = socket.family == AF_INET || socket.family == AF_INET6;
    uring::Sqe entry{};
    entry.fd = fd_of(socket);
    entry.op_flags =
        static_cast<std::uint32_t>(op.flags | MSG_NOSIGNAL | (counted ? MSG_WAITALL : 0));
    entry.user_data = user_data_of(op, 0);
    if (count == 1 && op.slices == 0 && !op.is_message) {
        entry.opcode = op.direct ? uring::op_send_zc : uring::op_send;
        entry.addr = reinterpret_cast<std::uint64_t>(op.lease.data + op.transferred);
        entry.len = static_cast<std::uint32_t>(std::min(op.remaining(), most_bytes));
        const int pin = op.direct ? pin_of(op.lease.data, op.lease.length) : -1;
        if (pin >= 0) {
            entry.ioprio = uring::send_fixed_buffer;
            entry.buf_group = static_cast<std::uint16_t>(pin);
        }
        push(entry);
        return;
    }
    std::size_t parts = 0;
    const Operation* at = &op;
    for (unsigned i = 0; i < count; ++i, at = at->next) {
        parts += at->slices != 0 ? at->slices : 1U;
    }
    auto* message = reinterpret_cast<msghdr*>(scratch(sizeof(msghdr) + parts * sizeof(iovec)));
    auto* vector = reinterpret_cast<iovec*>(message + 1);
    std::size_t used = 0;
    at = &op;
    for (unsigned i = 0; i < count; ++i, at = at->next) {
        at->each_part([&](std::byte* data, std::size_t length) {
            vector[used++] = {data, length};
            return true;
        });
    }
    *message = header_of(op, vector, used);
    entry.opcode = op.direct ? uring::op_sendmsg_zc : uring::op_sendmsg;
    entry.addr = reinterpret_cast<std::uint64_t>(message);
    entry.len = 1;
    push(entry);
}

StartResult UringBackend::attempt(Operation& op, unsigned count) {
    if (op.from_file && op.remaining() != 0) {
        return {};  // by the thread that owns the ring
    }
    const StartResult result = LinuxBackend::attempt(op, count);
    const bool reads = op.kind == Kind::receive || (op.kind == Kind::receive_each && !op.watching);
    return reads ? checked(*op.socket, result) : result;
}

StartResult UringBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    return checked(socket, LinuxBackend::read(socket, data, length));
}

// The kernel goes on with a send for as long as MSG_WAITALL says. Of an error that this meets it
// tells the bytes that had gone, and the socket has the error no longer: the next send would get
// EPIPE, and a receive the end of the stream. A connection that is over, though it had something to
// send, was reset or given up; which of them nobody can tell any more.
int UringBackend::swallowed_error(const Socket& socket) noexcept {
    tcp_info info{};
    socklen_t length = sizeof info;
    const bool over = ::getsockopt(fd_of(socket), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
                      length > offsetof(tcp_info, tcpi_state) && info.tcpi_state == TCP_CLOSE;
    return over ? ECONNRESET : 0;
}

// The end of the stream is none if a send that is still in the kernel has met an error before it.
StartResult UringBackend::checked(const Socket& socket, const StartResult& result) noexcept {
    const bool end = result.start == Start::done && result.value == 0;
    const Lane& lane = socket.sending;
    if (!end || !socket.stream || lane.started == 0 || lane.head->kind != Kind::send) {
        return result;
    }
    const int code = swallowed_error(socket);
    return code != 0 ? StartResult{Start::failed, code} : result;
}

// sendfile(2) between polls: the ring has no request for it, and a splice(2) would need a pipe for
// each send and a second request to know how much of what it holds has gone. It wants O_NONBLOCK,
// which a receive that is submitted meanwhile would see: so only the thread that submits, between
// two submissions, makes the call.
StartResult UringBackend::send_file(Operation& op) {
    if (op.going) {
        const StartResult result = send_file_now(op);
        op.going = false;
        if (result.start != Start::pending) {
            return result;
        }
    }
    op.going = true;
    return poll(op, POLLOUT, tag_ready);
}

// Without memory nothing of the request may be left, or its packet would be waited for.
StartResult UringBackend::start(Operation& op, unsigned count) {
    try {
        return start_request(op, count);
    } catch (const std::bad_alloc&) {
        in_kernel_.erase(op.id.slot);
        exact_waits_.over(op.id.packed() | tag_ready);
        exact_waits_.over(op.id.packed() | tag_empty);
        throw;
    }
}

StartResult UringBackend::start_request(Operation& op, unsigned count) {
    Socket& socket = *op.socket;
    if (goes_blind(op)) {
        return send_blind(op);
    }
    const bool would_block = would_block_.contains(op.id.slot);
    if (op.watching || would_block) {
        would_block_.erase(op.id.slot);
        return poll(op, op.sending() ? POLLOUT : POLLIN | POLLRDHUP, tag_ready);
    }
    switch (op.kind) {
        case Kind::zero_byte:
            return poll(op, POLLIN | POLLRDHUP, tag_empty);
        case Kind::writable:
            socket.backend_bits &= ~bit_unwritable;  // its completion says when there is room
            return poll(op, POLLOUT, tag_empty);
        case Kind::connect:
        case Kind::disconnect:
        case Kind::accept:
        case Kind::accept_each: {
            if (op.kind == Kind::disconnect) {
                woken_for_nothing_.erase(op.id.slot);  // the peer's end is what it waits for
            }
            const StartResult result = attempt(op, 1);
            return result.start == Start::pending ? poll(op, readiness_of(op.kind), tag_ready)
                                                  : result;
        }
        case Kind::send: {
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
            socket.backend_bits &= ~bit_unwritable;  // its completion says when there is room
            return {};
        }
        case Kind::receive:
        case Kind::receive_each:
            break;
    }
    if (op.kind == Kind::receive && reads_aside(op)) {
        return receive_aside(op);
    }
    receive(op);
    return {};
}

// A send that waits for room in the kernel is tried again whenever POLLRDHUP is told. Once the peer
// has shut down its side that is at once, and after 128 times it waits in a worker thread of its
// own: so where that is seen, readiness is waited for.
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
    socket.backend_bits &= ~bit_unwritable;  // its completion says when there is room
    woken_for_nothing_.insert(op.id.slot);
    const StartResult result = poll(op, POLLOUT, tag_ready);
    return result.start == Start::failed ? StartResult{} : result;
}

// The kernel makes a send that found no room again with what that try left of it: of a datagram
// that is cut, or empty. So a send is made by a call, and only the room for it is waited for.
StartResult UringBackend::send_datagram(Operation& op) {
    const StartResult result = send_now(op, 1);
    if (result.start == Start::pending) {
        op.socket->backend_bits &= ~bit_unwritable;  // its completion says when there is room
        return poll(op, POLLOUT, tag_ready);
    }
    return result;
}

// Errors and urgent data are waited for without the bytes that the kernel would take for them. An
// error that is not in the queue is the operation's own.
StartResult UringBackend::receive_aside(Operation& op) {
    const StartResult result = attempt(op, 1);
    if (result.start != Start::pending) {
        return result;
    }
    if (const int code = pending_error(*op.socket); code != 0) {
        return {Start::failed, code};
    }
    return poll(op, POLLPRI, tag_ready);
}

void UringBackend::receive(Operation& op) {
    uring::Sqe entry{};
    entry.opcode = uring::op_recv;
    entry.fd = fd_of(*op.socket);
    entry.user_data = user_data_of(op, 0);
    if (op.kind == Kind::receive_each && op.strategy == Receive::pooled) {
        entry.ioprio = uring::recv_multishot;
        entry.flags = uring::sqe_buffer_select;
        entry.buf_group = buffer_group;
        standing_.began(entry.user_data, entry.fd);
        push(entry);
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
    entry.len = static_cast<std::uint32_t>(std::min(op.remaining(), most_bytes));
    push(entry);
}

// The kernel copies the list of parts when it takes the entry, and writes to the header when the
// message is there.
void UringBackend::receive_message(Operation& op, uring::Sqe& entry) {
    auto* vector = reinterpret_cast<iovec*>(scratch(op.slices * sizeof(iovec)));
    std::size_t used = 0;
    op.each_part([&](std::byte* data, std::size_t length) {
        vector[used++] = {data, length};
        return true;
    });
    static_assert(sizeof(msghdr) <= sizeof(Message::native));
    auto* header = new (op.message()->native.data()) msghdr(header_of(op, vector, used));
    entry.opcode = uring::op_recvmsg;
    entry.addr = reinterpret_cast<std::uint64_t>(header);
    entry.len = 1;
    push(entry);
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

// By name, never by descriptor: the descriptor's number may belong to another socket by now. Of a
// request that is over the port may not have heard yet: its end is a later packet of this batch.
void UringBackend::cancel(Operation& op) {
    if (!in_kernel_.contains(op.id.slot)) {
        return;
    }
    const unsigned shift = op.sending() ? sending_tag_shift : receiving_tag_shift;
    const std::uint64_t tag = (op.socket->backend_bits >> shift) & 3U;
    cancel(op.id.packed() | (tag << tag_shift));
}

void UringBackend::cancel(std::uint64_t name) {
    push_cancel(name);
    cancels_.insert(name);
}

void UringBackend::push_cancel(std::uint64_t name) {
    uring::Sqe entry{};
    entry.opcode = uring::op_async_cancel;
    entry.fd = -1;
    entry.addr = name;
    entry.user_data = cancel_token;
    entry.flags = uring::sqe_cqe_skip_success;
    push(entry);
}

// A ring that no thread has yet entered has everything in its queue; of any other its own thread
// fetches the answers.
void UringBackend::take_cancelled(std::vector<Packet>& out) {
    if (!ring_->is_open()) {
        return;
    }
    if (!enabled_) {
        const auto drop = [&](uring::Sqe& entry) {
            const std::uint64_t name = entry.user_data;
            if (entry.opcode != uring::op_async_cancel && cancels_.contains(name)) {
                entry = {};
                entry.flags = uring::sqe_cqe_skip_success;
                entry.user_data = cancel_token;
                completion({name, -ECANCELED, 0}, out);
            }
        };
        ring_->each_queued(drop);
        std::for_each(backlog_.begin(), backlog_.end(), drop);
        return;
    }
    if (shared_ ? waiting_ : !is_owner()) {
        return;
    }
    publish();
    (void)ring_->enter(to_submit_, 0, 0);
    reap(out);
}

void UringBackend::cancel_again() {
    cancel_refused_ = cancel_refused_ && !cancels_.empty();
    if (!cancel_refused_ || now() - cancelled_again_ < cancel_pause_ns) {
        return;
    }
    cancelled_again_ = now();
    for (const std::uint64_t name : cancels_) {
        push_cancel(name);
    }
    cancel_refused_ = false;
}

// A cancel interrupts a request that a worker of the ring was just making; one that was interrupted
// without having been cancelled is started again.
bool UringBackend::cancelled(int code) const noexcept {
    return code == EINTR || LinuxBackend::cancelled(code);
}

void UringBackend::publish() {
    waiting_ = true;
    post_missing_regions();
    try {
        if (wake_lost_) {
            arm_wake();
        }
        cancel_again();
        standing_.look([this](std::uint64_t name) {
            if (in_kernel_.contains(SlotId::unpack(name).slot)) {
                cancel(name);
            }
        });
    } catch (const std::bad_alloc&) {
        // The next turn goes on with it.
    }
    new_sends_ = queued_sends_;
    queued_sends_ = 0;
    // There may be room already: the kernel takes what was submitted while posts of other threads
    // still find the queue full.
    std::size_t moved = 0;
    do {
        while (moved < backlog_.size()) {
            uring::Sqe* slot = ring_->next();
            if (slot == nullptr) {
                break;
            }
            *slot = backlog_[moved++];
        }
        to_submit_ = ring_->publish();
    } while (moved < backlog_.size() && ring_->enter(to_submit_, 0, -1) > 0);
    backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<std::ptrdiff_t>(moved));
    must_return_ = !backlog_.empty() || standing_.in_doubt() || wake_lost_;
}

void UringBackend::wait(std::int64_t timeout_ns) {
    if (cancel_refused_ && (timeout_ns < 0 || timeout_ns > cancel_pause_ns)) {
        timeout_ns = cancel_pause_ns;
    }
    const bool waits = timeout_ns != 0 && !must_return_;
    // Sends mostly complete while they are submitted. Their completions alone are no reason to come
    // back: the wait is for one more, though not for long, since some send may have to wait itself.
    const bool patient =
        waits && new_sends_ != 0 && new_sends_ <= most_patient_sends && expects_more_;
    const int taken = ring_->enter(to_submit_, patient ? new_sends_ + 1 : (waits ? 1 : 0),
                                   waits ? timeout_ns : 0, patient ? send_patience_us : 0);
    if (to_submit_ != 0 && taken < static_cast<int>(to_submit_)) {
        // Where not all was submitted nothing was completed either, though its end may free what
        // the system lacked.
        (void)ring_->enter(0, 0, 0);
    }
    new_sends_ = 0;
}

// Precondition: there is room for its packet.
void UringBackend::completion(const uring::Cqe& cqe, std::vector<Packet>& out) noexcept {
    const bool more = (cqe.flags & uring::cqe_f_more) != 0;
    if (cqe.user_data == wake_token) {
        std::uint64_t value = 0;
        (void)!::read(wake_fd_, &value, sizeof value);
        wake_lost_ = wake_lost_ || !more;
        return;
    }
    if (cqe.user_data == cancel_token) {
        cancel_refused_ = true;
        return;
    }
    Packet packet;
    packet.operation =
        SlotId::unpack((cqe.user_data & generation_bits) | (cqe.user_data & slot_bits));
    packet.result = cqe.res;
    if ((cqe.flags & uring::cqe_f_notif) != 0) {
        packet.phase = Phase::released;
        out.push_back(std::move(packet));
        return;
    }
    const bool polled = (cqe.user_data & (tag_ready | tag_empty)) != 0;
    // A second entry will say that the memory is free. A cancel could do no more, and the rest of a
    // send may be a request of the same name by then.
    const bool transferred = more && !polled && (cqe.flags & uring::cqe_f_buffer) == 0;
    if (!more || transferred) {
        in_kernel_.erase(packet.operation.slot);
        exact_waits_.over(cqe.user_data);
        if (!cancels_.empty()) {
            cancels_.erase(cqe.user_data);
        }
    }
    packet.more = more && !transferred;
    standing_.completed(cqe);
    if ((cqe.flags & uring::cqe_f_buffer) != 0 && cqe.res > 0) {
        packet.slice = take_received(cqe.flags, cqe.res);
    }
    if (polled && cqe.res >= 0) {
        const bool looks = (cqe.user_data & tag_ready) != 0;
        const bool for_nothing =
            cqe.res == POLLRDHUP || (looks && (cqe.res & (POLLIN | POLLOUT | POLLPRI)) == 0);
        if (for_nothing) {
            woken_for_nothing_.insert(packet.operation.slot);
        }
        packet.result = 0;
        packet.ready = for_nothing || looks;
    } else if (transferred) {
        packet.phase = Phase::transferred;
    }
    if (!polled && cqe.res == -EAGAIN) {
        // A worker of the ring made the call, and found the file non-blocking: it is another
        // holder's to set.
        would_block_.insert(packet.operation.slot);
        packet.result = 0;
        packet.ready = true;
    }
    out.push_back(std::move(packet));
}

// What there is no room for stays in the ring.
void UringBackend::collect(std::vector<Packet>& out) {
    const bool all = ring_->each_completion([&](const uring::Cqe& cqe) {
        if (out.size() == out.capacity()) {
            try {
                out.reserve(std::max<std::size_t>(2 * out.size(), least_packets));
            } catch (const std::bad_alloc&) {
                return false;
            }
        }
        completion(cqe, out);
        return true;
    });
    if (!all) {
        throw std::bad_alloc();
    }
}

void UringBackend::reap(std::vector<Packet>& out) {
    waiting_ = false;
    out.reserve(out.size() + carried_.size());
    for (Packet& packet : carried_) {
        out.push_back(std::move(packet));
    }
    carried_.clear();
    if (!ring_->is_open()) {
        return;  // the thread that had it is gone, and the system refuses another one
    }
    collect(out);
    if (ring_->publish() == 0 && backlog_.empty()) {
        scratch_block_ = 0;
        scratch_used_ = 0;
    }
}

void UringBackend::arm_wake() {
    uring::Sqe entry{};
    entry.opcode = uring::op_poll_add;
    entry.fd = wake_fd_;
    entry.op_flags = POLLIN;
    entry.len = uring::poll_add_multi;
    entry.user_data = wake_token;
    push(entry);
    wake_lost_ = false;
}

void UringBackend::wake() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(wake_fd_, &one, sizeof one);
}

}  // namespace iocp
