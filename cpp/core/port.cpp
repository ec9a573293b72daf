#include "core/port.hpp"

#include <algorithm>

namespace iocp {

namespace {

// Marks that the calling thread leads, that is, makes the turn, until the scope ends. The next
// thread may then lead, even if the turn threw an exception.
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
      backend_(std::move(backend)),
      capabilities_(backend_->capabilities()),
      parts_(options_, capabilities_, pool, *backend_),
      turn_(parts_, *backend_),
      sockets_(parts_, turn_),
      operations_(parts_, turn_),
      timers_(parts_.timers, turn_),
      figures_(parts_, pool, *backend_) {
    if (options.concurrency != 0) {
        workers_.emplace(options.concurrency, options.in_order);
    }
}

// Precondition: terminate() returned true. If it returned false, the owner leaks the port on
// purpose, because the kernel still uses its memory.
Port::~Port() {
    assert(!abandoned_);
    parts_.completions.clear();
    parts_.metrics.stop_clock();
    backend_.reset();
    parts_.operations.each([](Operation& op) {
        op.lease.give_back();
        op.receipt.refund();
    });
}

void Port::wake() noexcept {
    was_woken_ = true;
    if (shared() && !workers_->led()) {
        workers_->wake_one();
        return;
    }
    turn_.wake();
}

Operation* Port::take_notified() noexcept {
    Operation* first = parts_.completions.take_notified();
    for (Operation* op = first; op != nullptr; op = op->next_finished) {
        if (parts_.metrics.observed()) {
            parts_.metrics.handed_out(*op);
        }
        parts_.queue.leave_socket(*op);
    }
    return first;
}

Error Port::poll(std::int64_t deadline, std::vector<Ready>& out) {
    std::unique_lock lock(mutex_);
    if (Error error = turn_.run(lock, deadline)) {
        return error;
    }
    take_ready(out);
    return {};
}

Error Port::poll_now(std::vector<Ready>& out) {
    if (Error error = turn_.run_now()) {
        return error;
    }
    take_ready(out);
    return {};
}

Error Port::collect(std::int64_t deadline, std::uint64_t seen) {
    std::unique_lock lock(mutex_);
    if (!shared()) {
        return turn_.run(lock, deadline);
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
    (void)parts_.completions.settle_owed();
    std::vector<Ready>& records = parts_.completions.records();
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

// --- several threads ----------------------------------------------------------------------------

// Makes a turn of a shared port, and gives its records to the workers.
Error Port::lead(std::unique_lock<std::mutex>& lock, std::int64_t deadline) {
    const Leading leading(*workers_);
    const Error error = turn_.run(lock, deadline);
    workers_->add(parts_.completions.records());
    return error;
}

Port::Next Port::next(Worker& worker, Ready& out) {
    assert(shared());
    workers_->give_back(worker);
    if (ended_) {
        return Next::ended;
    }
    if (finished()) {
        if (workers_->led()) {
            // The port must not end while the leader's wait uses the backend. So the leader gets
            // Next::over when it asks next.
            wake_workers();
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

Error Port::wait_for_next(Worker& worker, std::int64_t deadline, std::int64_t maximum,
                          void* interrupt) {
    assert(shared());
    std::unique_lock lock(mutex_);
    // Checks for an earlier wake, because one that comes before this thread sleeps finds no
    // sleeper.
    if (ended_ || was_woken_ || workers_->summoned(worker) || workers_->offers(worker)) {
        return {};
    }
    const std::int64_t left = std::min(maximum, until(deadline));
    if (workers_->may_lead()) {
        return lead(lock, now() + left);
    }
    workers_->sleep(worker, lock, left, interrupt);
    return {};
}

void Port::wake_workers() noexcept {
    assert(shared());
    turn_.wake();
    workers_->wake_all();
}

// Returns the nanoseconds until the deadline, at most an hour. A negative deadline means none, and
// gives an hour.
std::int64_t Port::until(std::int64_t deadline) const noexcept {
    constexpr std::int64_t longest = 3'600'000'000'000;
    const std::int64_t left = deadline < 0 ? longest : deadline - now();
    return left < 0 ? 0 : (left < longest ? left : longest);
}

// --- the end ------------------------------------------------------------------------------------

void Port::begin_close(std::int64_t timeout) {
    parts_.sockets.refuse_all();
    parts_.socket_table.each([&](Socket& socket) {
        if (socket.state != SocketState::free) {
            parts_.lifecycle.close(socket, timeout);
        }
    });
    if (shared()) {
        workers_->open_up();
    }
    turn_.conclude();
}

bool Port::finished() const noexcept {
    return sockets_.closing() && sockets_.open_count() == 0 && operations_.outstanding() == 0 &&
           parts_.completions.empty() && (!shared() || workers_->idle());
}

bool Port::quiet() const noexcept {
    return operations_.outstanding() == 0 && parts_.timers.calls() == 0 &&
           parts_.completions.empty() && !parts_.flow.any_to_flush() && !parts_.standing.any() &&
           (!shared() || workers_->idle());
}

bool Port::terminate() {
    std::unique_lock lock(mutex_);
    parts_.sockets.refuse_all();
    parts_.socket_table.each([&](Socket& socket) {
        parts_.completions.end_pause(socket);
        parts_.lifecycle.end_now(socket);
    });
    turn_.work_off();
    constexpr std::int64_t patience = 5'000'000'000;
    const std::int64_t deadline = now() + patience;
    const auto held = [this] {
        return sockets_.open_count() + parts_.endings.releases().unreleased() != 0;
    };
    while (held() && now() < deadline) {
        if (const Error error = turn_.run(lock, deadline)) {
            if (backend_->holds_requests()) {
                if (error.fault == Fault::resource) {
                    continue;
                }
                break;
            }
            turn_.lose_requests();
        }
    }
    abandoned_ = held();
    return !abandoned_;
}

void Port::release_backend() noexcept {
    assert(sockets_.open_count() == 0);
    parts_.subscriptions.release_space();
    parts_.metrics.stop_clock();
    figures_.release_backend();
    backend_.reset();
    parts_.registered.release_backend();
}

}  // namespace iocp
