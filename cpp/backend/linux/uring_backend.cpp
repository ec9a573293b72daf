#include "backend/linux/uring_backend.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "backend/linux/call.hpp"
#include "backend/linux/in_time.hpp"
#include "base/process.hpp"

namespace iocp {

namespace {

constexpr std::size_t min_packets = 16;

}  // namespace

std::unique_ptr<UringBackend> UringBackend::create(BufferPool& pool, const BackendOptions& options,
                                                   bool patient, BackendReason& why) {
    std::unique_ptr<UringBackend> made(new UringBackend(pool, options));
    if (const int code = made->wake_.open(); code != 0) {
        why = made->refusal("eventfd", code);
        return nullptr;
    }
    std::string& reason = why.text;
    const int code = patient ? made->open_ring_in_time(reason) : made->open_ring(reason);
    if (code != 0) {
        why.code = code;
        why.exhausted = made->exhausted(code);
        return nullptr;
    }
    made->had_regions_ = made->regions_.provided();
    reason = "io_uring, " + std::to_string(made->ring_.entries()) + " entries";
    if (made->ring_.entries() < options.ring_entries) {
        reason += " (RLIMIT_MEMLOCK has no room for as many as asked for)";
    }
    if (!made->regions_.provided()) {
        reason += made->regions_.refusal() == ENOMEM
                      ? ", no buffer ring (RLIMIT_MEMLOCK has no room for one)"
                      : ", no incremental buffer rings in this kernel";
    }
    return made;
}

int UringBackend::open_ring(std::string& reason) {
    if (const int code = ring_.open(entries_, shared_, reason); code != 0) {
        return code;
    }
    regions_.provide();
    sends_direct_ = supports(uring::op_send_zc) && supports(uring::op_sendmsg_zc);
    arm_wake();
    return 0;
}

// Repeats open_ring() while it fails with ENOMEM, because the memory that a closed ring had locked
// counts against RLIMIT_MEMLOCK for a while.
int UringBackend::open_ring_in_time(std::string& reason) {
    int code = 0;
    (void)in_time([&] {
        code = open_ring(reason);
        return code != ENOMEM;
    });
    return code;
}

UringBackend::~UringBackend() {
    ring_.close();  // before the other members end, whose memory its requests may use
}

Error UringBackend::claim() {
    if (shared_ || (ring_.enabled() && issuer_.is_this_thread())) {
        released_ = false;
        return {};
    }
    try {
        return claim_ring();
    } catch (const std::bad_alloc&) {
        return {Fault::resource, ENOMEM,
                "this thread cannot run the port: the system ran out of memory"};
    }
}

// Makes the calling thread the ring's issuer. The allocations come before enable(), so that a lack
// of memory never leaves the ring enabled for an unknown thread.
Error UringBackend::claim_ring() {
    Issuer self = Issuer::this_thread();
    if (ring_.enabled() && !released_ && !issuer_.ends_in_time()) {
        return runs_elsewhere;
    }
    if (ring_.enabled() && std::exchange(released_, false)) {
        end_requests();
    }
    if (ring_.enabled() || !ring_.is_open()) {
        if (Error error = take_over()) {
            return error;
        }
    }
    if (const int code = ring_.enable(); code != 0) {
        return {Fault::system, code, nullptr};
    }
    issuer_ = std::move(self);
    return {};
}

// Ends the requests of an issuer that lives: the kernel cancels what a closed ring has, and reports
// each end in the ring's memory. A request may still move bytes until then, so all are awaited.
void UringBackend::end_requests() noexcept {
    submission_.each([this](const uring::Sqe& entry) {
        if (entry.user_data < RequestName::cancel && entry.opcode != uring::op_async_cancel) {
            in_kernel_.erase(RequestName(entry.user_data).operation().slot);
        }
    });
    ring_.end();
    (void)in_time([this] {
        try {
            collect(carried_);
        } catch (const std::bad_alloc&) {
            return false;
        }
        return in_kernel_.empty();
    });
}

// Replaces the ring of an ended thread. The kernel has ended that thread's requests, and has left
// as many completions as fit in the old ring's memory. They can be read there, although no other
// thread may enter that ring.
Error UringBackend::take_over() {
    if (ring_.is_open()) {
        collect(carried_);
        ring_.close();
    }
    regions_.drop();
    standing_.clear();
    exact_waits_.clear();
    would_block_.clear();
    in_kernel_.clear();
    cancels_.clear();
    submission_.clear();  // the core starts every request again
    std::string reason;
    if (open_ring_in_time(reason) != 0) {
        return {Fault::resource, ENOMEM,
                "the thread that ran this port has ended, and the system refuses the next thread "
                "a ring of its own; raise RLIMIT_MEMLOCK (ulimit -l)"};
    }
    if (had_regions_) {
        regions_.provide_in_time();
    }
    if (!registered_.restore()) {
        ring_.close();
        return {Fault::resource, ENOMEM,
                "the thread that ran this port has ended, and the system refuses the next thread "
                "its registered memory; raise RLIMIT_MEMLOCK (ulimit -l)"};
    }
    took_over_ = true;
    return {};
}

Capabilities UringBackend::capabilities() const noexcept {
    Capabilities result;
    result.multishot_receive = regions_.provided();
    result.zero_copy_send = sends_direct_;
    return result;
}

bool UringBackend::supports(std::uint8_t opcode) const {
    uring::Probe probe{};
    constexpr unsigned entries = sizeof probe.ops / sizeof probe.ops[0];
    return ring_.register_with(uring::register_probe, &probe, entries) == 0 && opcode < entries &&
           (probe.ops[opcode].flags & uring::probe_supported) != 0;
}

bool UringBackend::send_direct(Socket& socket, bool on) {
    const bool can = sends_direct_ && socket.stream && is_internet(socket);
    asked_direct_ = asked_direct_ || (on && can);
    return can;
}

// Returns the pages that the kernel charges to RLIMIT_MEMLOCK for a zero-copy send until its
// notification. It charges one for each whole page of the send's length, plus two
// (io_uring/notif.c; measured in tests/memory/test_truth.py).
std::uint32_t UringBackend::kernel_locked(const Operation& op) const noexcept {
    const State state = op.state.load(std::memory_order_relaxed);
    const bool in_flight =
        op.releases != 0 || (op.socket->sending.head == &op && op.socket->sending.started != 0);
    if (!op.direct || !in_flight || state == State::completed ||
        (op.slices == 0 && registered_.index_of(op.lease.data, op.lease.length) >= 0)) {
        return 0;
    }
    return static_cast<std::uint32_t>(op.lease.length / system_page_size()) + 2;
}

// Cancels by the request's user_data, never by descriptor, whose number may belong to another
// socket by now. Does nothing if the request has ended: its packet, which the port has not seen
// yet, comes later in the same batch.
void UringBackend::cancel(Operation& op) {
    if (in_kernel_.contains(op.id.slot)) {
        cancel(RequestName::of(op).packed());
    }
}

void UringBackend::cancel(std::uint64_t name) {
    push_cancel(name);
    cancels_.asked(name);
}

void UringBackend::push_cancel(std::uint64_t name) {
    uring::Sqe entry{};
    entry.opcode = uring::op_async_cancel;
    entry.fd = -1;
    entry.addr = name;
    entry.user_data = RequestName::cancel;
    entry.flags = uring::sqe_cqe_skip_success;
    submission_.push(entry);
}

// Until a thread has entered the ring, all requests are still queued, and cancelled ones are
// removed from the queue. After that only the ring's own thread can fetch completions, or for a
// shared ring any thread while none waits.
void UringBackend::take_cancelled(std::vector<Packet>& out) {
    if (!ring_.is_open()) {
        return;
    }
    if (!ring_.enabled()) {
        out.reserve(out.size() + cancels_.size());
        const auto drop = [&](uring::Sqe& entry) {
            const std::uint64_t name = entry.user_data;
            if (entry.opcode != uring::op_async_cancel && cancels_.contains(name)) {
                entry = {};
                entry.flags = uring::sqe_cqe_skip_success;
                entry.user_data = RequestName::cancel;
                completion({name, -ECANCELED, 0}, out);
            }
        };
        submission_.each(drop);
        return;
    }
    if (shared_ ? waiting_ : !issuer_.is_this_thread()) {
        return;
    }
    publish();
    submission_.enter(0);
    reap(out);
}

// EINTR also means cancelled: a cancel interrupts a call that a worker thread of the ring is just
// making. The core starts a request again if it was interrupted without a cancel.
bool UringBackend::cancelled(int code) const noexcept {
    return code == EINTR || LinuxBackend::cancelled(code);
}

void UringBackend::publish() {
    waiting_ = true;
    regions_.post_missing();
    try {
        if (wake_lost_) {
            arm_wake();
        }
        cancels_.repeat(*this, [this](std::uint64_t name) { push_cancel(name); });
        standing_.look([this](std::uint64_t name) {
            if (in_kernel_.contains(RequestName(name).operation().slot)) {
                cancel(name);
            }
        });
    } catch (const std::bad_alloc&) {
        // Memory has run out. The next publish() does the rest.
    }
    submission_.publish();
    must_return_ = submission_.has_backlog() || standing_.in_doubt() || wake_lost_;
}

void UringBackend::wait(std::int64_t timeout_ns) {
    submission_.enter(must_return_ ? 0 : cancels_.limit(timeout_ns));
}

// Converts a completion entry to a packet. Precondition: `out` has room for the packet.
void UringBackend::completion(const uring::Cqe& cqe, std::vector<Packet>& out) noexcept {
    const bool more = (cqe.flags & uring::cqe_f_more) != 0;
    if (cqe.user_data == RequestName::wake) {
        wake_.clear();
        wake_lost_ = wake_lost_ || !more;
        return;
    }
    if (cqe.user_data == RequestName::cancel) {
        cancels_.refused();
        return;
    }
    const RequestName name(cqe.user_data);
    Packet packet;
    packet.operation = name.operation();
    packet.result = cqe.res;
    if ((cqe.flags & uring::cqe_f_notif) != 0) {
        packet.phase = Phase::released;
        out.push_back(std::move(packet));
        return;
    }
    const bool polled = name.kind() != RequestKind::transfer;
    // This is a zero-copy send, and a second completion will report that its memory is released.
    // Until then a cancel has nothing to end, and a request for the rest of the send may already
    // use the same user_data.
    const bool transferred = more && !polled && (cqe.flags & uring::cqe_f_buffer) == 0;
    if (!more || transferred) {
        in_kernel_.erase(packet.operation.slot);
        exact_waits_.over(cqe.user_data);
        cancels_.over(cqe.user_data);
    }
    packet.more = more && !transferred;
    standing_.completed(cqe);
    if ((cqe.flags & uring::cqe_f_buffer) != 0 && cqe.res > 0) {
        packet.slice =
            regions_.take(static_cast<std::uint16_t>(cqe.flags >> uring::cqe_buffer_shift),
                          static_cast<std::size_t>(cqe.res));
    }
    if (polled && cqe.res >= 0) {
        const bool looks = name.kind() == RequestKind::ready;
        const bool for_nothing =
            cqe.res == POLLRDHUP || (looks && (cqe.res & (POLLIN | POLLOUT | POLLPRI)) == 0);
        if (for_nothing) {
            exact_waits_.need(packet.operation.slot);
        }
        packet.result = 0;
        packet.ready = for_nothing || looks;
    } else if (transferred) {
        packet.phase = Phase::transferred;
    }
    if (!polled && cqe.res == -EAGAIN) {
        // A worker thread of the ring made the call and found the file non-blocking, a mode that
        // another holder of the file may set.
        would_block_.insert(packet.operation.slot);
        packet.result = 0;
        packet.ready = true;
    }
    out.push_back(std::move(packet));
}

// Appends the packets of all completions. Completions for which `out` has no room stay in the ring.
void UringBackend::collect(std::vector<Packet>& out) {
    const bool all = ring_.each_completion([&](const uring::Cqe& cqe) {
        if (out.size() == out.capacity()) {
            try {
                out.reserve(std::max<std::size_t>(2 * out.size(), min_packets));
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
    if (!ring_.is_open()) {
        return;  // there is no ring: its thread has ended, and the system refused a new one
    }
    collect(out);
    submission_.reuse_memory();
}

void UringBackend::arm_wake() {
    uring::Sqe entry{};
    entry.opcode = uring::op_poll_add;
    entry.fd = wake_.fd();
    entry.op_flags = POLLIN;
    entry.len = uring::poll_add_multi;
    entry.user_data = RequestName::wake;
    submission_.push(entry);
    wake_lost_ = false;
}

}  // namespace iocp
