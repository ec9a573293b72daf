// Port: its life and its turns.
#include "core/port.hpp"

#include <algorithm>
#include <cassert>
#include <new>
#include <unordered_set>

namespace iocp {

namespace {

// A lock that is not held for a while.
class Unlocked {
public:
    explicit Unlocked(std::unique_lock<std::mutex>& lock) : lock_(lock) { lock_.unlock(); }
    ~Unlocked() { lock_.lock(); }
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;

private:
    std::unique_lock<std::mutex>& lock_;
};

// One of several threads makes a turn: the next one may when it is over, however it ends.
class Leading {
public:
    explicit Leading(Workers& workers) : workers_(workers) { workers_.lead(); }
    ~Leading() { workers_.follow(); }
    Leading(const Leading&) = delete;
    Leading& operator=(const Leading&) = delete;

private:
    Workers& workers_;
};

}  // namespace

Port::Port(const PortOptions& options, BufferPool& pool, std::unique_ptr<Backend> backend)
    : options_(options),
      pool_(pool),
      ledger_(system_page_size(), options.budget_bytes),
      backend_(std::move(backend)),
      capabilities_(backend_->capabilities()),
      latencies_(options.latency ? std::make_unique<Latencies>() : nullptr),
      observed_(options.latency) {
    if (options.concurrency != 0) {
        workers_.emplace(options.concurrency, options.in_order);
    }
}

// Precondition: terminate() returned true, or the whole port is leaked on purpose.
Port::~Port() {
    assert(!abandoned_);
    ready_.records().clear();
    withheld_.clear();
    backend_.reset();
    operations_.each([](Operation& op) {
        op.lease.give_back();
        op.receipt.refund();
    });
    if (space_ != nullptr) {
        space_->drop_reference();
    }
    for (Registered& memory : registered_) {
        memory.unwanted = true;
    }
    free_registered();
}

Socket* Port::new_socket(Handle handle) {
    try {
        if (caps_sockets() && sockets_.free() == 0) {
            admitted_.resize(sockets_.capacity() + SlotTable<Socket>::slots_per_chunk);
        }
        Socket& socket = sockets_.take();
        socket.handle = handle;
        socket.life = Life::open;
        socket.skip_done = options_.skip_done;
        socket.marks = options_.marks;
        ++open_sockets_;
        return &socket;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

Error Port::open(int family, int type, int protocol, Socket*& out) {
    if (closing_) {
        return Error::of(Fault::port_closed, "the port is closed; make a new one");
    }
    Handle handle = no_handle;
    if (const int code = backend_->open(family, type, protocol, handle); code != 0) {
        return system_error(code);
    }
    if (Error refused = join(new_socket(handle), handle, false, out)) {
        return refused;
    }
    if (options_.nodelay) {
        set_nodelay(*out);
    }
    return {};
}

Error Port::adopt(Handle handle, Socket*& out, bool nonblocking) {
    if (closing_) {
        return Error::of(Fault::port_closed, "the port is closed; make a new one");
    }
    Socket* socket = new_socket(handle);
    if (socket != nullptr) {
        socket->was_nonblocking = nonblocking;
        socket->gives_nodelay = options_.nodelay;
    }
    return join(socket, handle, true, out);
}

Error Port::join(Socket* socket, Handle handle, bool adopted, Socket*& out) {
    if (socket == nullptr) {
        if (!adopted) {
            close_unused(handle);
        }
        return no_socket;
    }
    if (const int code = backend_->describe(handle, *socket); code != 0) {
        if (!adopted) {
            close_unused(handle);
        }
        give_back(*socket);
        return system_error(code);
    }
    socket->shared = adopted;
    out = socket;
    return {};
}

// A socket that nothing was told of.
void Port::give_back(Socket& socket) noexcept {
    socket.life = Life::free;
    --open_sockets_;
    sockets_.give_back(socket);
}

// A handle that never became a socket of this port.
void Port::close_unused(Handle handle) {
    Socket unused;
    unused.handle = handle;
    backend_->close(unused);
}

void Port::retire(Operation& op) noexcept {
    Socket& socket = *op.socket;
    --socket.outstanding;
    --outstanding_;
    operations_.give_back(op);
}

Operation* Port::take_aside() noexcept {
    any_aside_.store(false, std::memory_order_relaxed);
    for (Operation* op = aside_first_; op != nullptr; op = op->next_finished) {
        if (observed() && backend_ != nullptr) {
            handed_out(*op);
        }
        --std::exchange(op->socket, nullptr)->outstanding;
    }
    aside_last_ = nullptr;
    return std::exchange(aside_first_, nullptr);
}

void Port::retire_aside(Operation& op) noexcept {
    --outstanding_;
    operations_.give_back(op);
}

void Port::retire(Socket& socket) noexcept {
    if (socket.flush_listed) {
        unlist(flush_first_, flush_last_, &Socket::next_flush, socket);
    }
    if (socket.drain_listed) {
        unlist(drain_first_, drain_last_, &Socket::next_drain, socket);
    }
    set_pause(socket, false, false);
    withheld_.erase(socket.id.slot);
    sockets_.give_back(socket);
}

void Port::unlist(Socket*& first, Socket*& last, Socket* Socket::*next, Socket& socket) noexcept {
    Socket* before = nullptr;
    for (Socket* at = first; at != &socket; at = at->*next) {
        before = at;
    }
    (before != nullptr ? before->*next : first) = socket.*next;
    if (last == &socket) {
        last = before;
    }
}

Timer* Port::call_at(std::int64_t when, void* user) {
    Timer* timer = timers_.add(when, TimerKind::call, user);
    if (timer != nullptr) {
        ++calls_;
        nudge();
    }
    return timer;
}

bool Port::cancel_call(Timer* timer) noexcept {
    if (TimerHeap::fired(*timer)) {
        timer->target = nullptr;
        return false;
    }
    timers_.remove(timer);
    --calls_;
    return true;
}

Error Port::post(void* user) {
    if (closing_) {
        return Error::of(Fault::port_closed, "the port is closed; make a new one");
    }
    if (!ready_.reserve(1)) {
        return Error::of(Fault::resource, "no memory for a posted packet");
    }
    Ready ready;
    ready.what = Ready::What::packet;
    ready.user = user;
    push(std::move(ready));
    nudge();
    return {};
}

void Port::push(Ready ready) noexcept {
    if (trace_ != nullptr && ready.op != nullptr && ready.what != Ready::What::completed) {
        record(*ready.op, Stage::yielded, ready.slice.length());
    }
    ready_.push(std::move(ready));
}

// Only another thread can find the port asleep, for the sleeper does not hold the lock.
void Port::nudge() noexcept {
    if (sleeping_) {
        sleeping_ = false;
        backend_->wake();
    }
}

void Port::wake() noexcept {
    was_woken_ = true;
    if (shared() && !workers_->led()) {
        workers_->wake_one();
        return;
    }
    woken_ = true;
    nudge();
}

bool Port::quiet() const noexcept {
    return outstanding_ == 0 && calls_ == 0 && ready_.empty() && flush_first_ == nullptr &&
           drain_first_ == nullptr && (!shared() || workers_->idle());
}

Error Port::turn(std::unique_lock<std::mutex>& lock, std::int64_t deadline) {
    if (Error error = backend_->claim()) {
        return error;
    }
    restarts_ = backend_->took_over() || restarts_;
    if (restarts_ && !restart_requests()) {
        return out_of_memory();
    }
    if (std::exchange(reminded_, false)) {
        remind();
    }
    turn_time_ = backend_->now();
    fire_timers();
    if (feeds_) {
        feed_starved();
    }
    free_registered();
    admit_held();
    flush_sends();  // before anything new is read: what callbacks sent is still in the cache
    drained_bytes_ = 0;
    ++turn_number_;
    continue_drains();
    std::int64_t timeout = 0;
    if (ready_.empty() && packets_.empty() && drain_first_ == nullptr && !woken_ && !reminded_) {
        std::int64_t until = deadline;
        if (!timers_.empty() && (until < 0 || timers_.first()->when < until)) {
            until = timers_.first()->when;
        }
        const std::int64_t now = until < 0 ? 0 : backend_->now();
        timeout = until < 0 ? -1 : (until > now ? until - now : 0);
    }
    woken_ = false;
    sleeping_ = timeout != 0;
    backend_->publish();
    ++counts_.waits;
    {
        const Unlocked unlocked(lock);
        backend_->wait(timeout);
    }
    sleeping_ = false;
    turn_time_ = backend_->now();
    reap();
    fire_timers();
    if (backend_->nothing_due()) {
        return Error::of(
            Fault::nothing_due,
            "nothing is due in the model: no segment is on its way, no timer is armed, "
            "so this wait would never end; post something, or wait with a timeout");
    }
    const bool lacking = !ready_.settle_owed() || !packets_.empty();
    if (lacking && ready_.records().empty()) {
        return out_of_memory();
    }
    return {};
}

Error Port::out_of_memory() const noexcept {
    return Error::of(Fault::resource,
                     "no memory to hand out what is ready; nothing is lost: free some, and run the "
                     "port again");
}

// What there is no memory for stays with the backend until the next turn.
void Port::reap() {
    try {
        backend_->reap(packets_);
    } catch (const std::bad_alloc&) {
        reminded_ = true;
    }
    complete_packets();
}

// A packet waits here while there is no memory for what it may bring: two records, of a datagram
// that was cut.
void Port::complete_packets() {
    std::size_t count = 0;
    while (count < packets_.size() && ready_.reserve(2)) {
        complete(packets_[count++]);
    }
    packets_.erase(packets_.begin(), packets_.begin() + static_cast<std::ptrdiff_t>(count));
}

// Goes over what found no memory to be asked of the backend, or to be told.
void Port::remind() {
    operations_.each([this](Operation& op) {
        if (op.socket == nullptr || op.finished()) {
            return;
        }
        const Lane& lane = op.socket->lane_of(op);
        if (lane.head == &op && lane.started != 0 &&
            (op.cancel_requested || op.yields || op.switched ||
             (op.subscription() && op.socket->reading_paused))) {
            ask_cancel(op);
        }
    });
    sockets_.each([this](Socket& socket) {
        tell_flow(socket);
        if (!socket.resuming) {
            resume_later(socket);
        }
    });
}

// Without memory to ask, the next turn asks again.
void Port::ask_cancel(Operation& op) noexcept {
    try {
        backend_->cancel(op);
    } catch (const std::bad_alloc&) {
        reminded_ = true;
    }
}

// What was in the kernel when its issuing thread ended has been ended by the system, some of it
// with a packet. Attached operations outlive the thread that runs them: those without one are
// started again, and nothing was read. A lane whose packet starts its next request is not among
// them.
bool Port::restart_requests() {
    try {
        backend_->reap(packets_);
        std::unordered_set<std::uint64_t> ended;
        for (const Packet& packet : packets_) {
            if (!packet.more && packet.phase != Phase::released) {
                ended.insert(packet.operation.packed());
            }
        }
        std::vector<SlotId> lost;
        sockets_.each([&](Socket& socket) {
            for (const Lane* lane : {&socket.sending, &socket.receiving}) {
                if (lane->started != 0 && !ended.contains(lane->head->id.packed())) {
                    lost.push_back(lane->head->id);
                }
            }
        });
        packets_.reserve(packets_.size() + lost.size());
        for (const SlotId id : lost) {
            Packet packet;
            packet.operation = id;
            packet.result = backend_->cancel_code();
            packets_.push_back(std::move(packet));
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
    restarts_ = false;
    complete_packets();
    lose_releases();
    return true;
}

Error Port::poll(std::int64_t deadline, std::vector<Ready>& out) {
    std::unique_lock lock(mutex_);
    if (Error error = turn(lock, deadline)) {
        return error;
    }
    take_ready(out);
    return {};
}

Error Port::collect(std::int64_t deadline, std::uint64_t seen) {
    std::unique_lock lock(mutex_);
    if (!shared()) {
        return turn(lock, deadline);
    }
    if (ended_) {
        return {};
    }
    if (!workers_->led()) {
        return lead(lock, deadline);
    }
    workers_->watch(lock, until(deadline), seen);
    return {};
}

void Port::take_ready(std::vector<Ready>& out) {
    if (shared()) {
        workers_->drain(out);
    }
    (void)ready_.settle_owed();
    std::vector<Ready>& records = ready_.records();
    if (out.empty()) {
        out.swap(records);
        return;
    }
    out.reserve(out.size() + records.size());
    for (Ready& ready : records) {
        out.push_back(std::move(ready));
    }
    records.clear();
}

// One of several threads makes the port's turns, for all of them.
Error Port::lead(std::unique_lock<std::mutex>& lock, std::int64_t deadline) {
    const Leading leading(*workers_);
    const Error error = turn(lock, deadline);
    workers_->add(ready_.records());
    return error;
}

Port::Next Port::next(Worker& worker, Ready& out) {
    workers_->give_back(worker);
    if (ended_) {
        return Next::ended;
    }
    if (finished()) {
        if (workers_->led()) {
            wake_workers();  // whoever leads is told instead: its wait needs the backend
            return Next::nothing;
        }
        ended_ = true;
        return Next::over;
    }
    if (workers_->take(worker, out)) {
        return Next::record;
    }
    return take_woken() ? Next::woken : Next::nothing;
}

Error Port::wait_for_next(Worker& worker, std::int64_t deadline, std::int64_t most,
                          void* interrupt) {
    std::unique_lock lock(mutex_);
    // Whoever looked for something to wake may have found nobody asleep yet.
    if (ended_ || was_woken_ || workers_->summoned(worker) || workers_->offers(worker)) {
        return {};
    }
    const std::int64_t left = std::min(most, until(deadline));
    if (workers_->may_lead()) {
        return lead(lock, now() + left);
    }
    workers_->sleep(worker, lock, left, interrupt);
    return {};
}

void Port::wake_workers() noexcept {
    woken_ = true;
    nudge();
    workers_->wake_all();
}

// Nanoseconds; an hour stands for ever.
std::int64_t Port::until(std::int64_t deadline) const noexcept {
    constexpr std::int64_t longest = 3'600'000'000'000;
    const std::int64_t left = deadline < 0 ? longest : deadline - now();
    return left < 0 ? 0 : (left < longest ? left : longest);
}

void Port::release_backend() noexcept {
    if (space_ != nullptr) {
        space_->drop_reference();
        space_ = nullptr;
    }
    backend_.reset();
    free_registered();
}

}  // namespace iocp
