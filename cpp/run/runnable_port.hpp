#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/process.hpp"
#include "core/port.hpp"
#include "run/host.hpp"
#include "run/inbox.hpp"
#include "run/port_waiters.hpp"
#include "run/runner_lock.hpp"
#include "run/stops.hpp"

namespace iocp::run {

// One thread's state as a worker of one shared port. It lives until the thread or the port ends.
struct PortWorker {
    PortWorker() { inbox.refill().reserve(1); }

    Worker worker;
    Inbox inbox;         // the record in hand, until it is handed out; empty between two calls
    bool inside{false};  // a call that runs the port is under way in this thread
};

// A port of the core, together with the threads that run it or wait for it. The owner decides how
// long the port lives. retain() and release() count the waiting threads that use it.
class RunnablePort {
public:
    RunnablePort() = default;
    virtual ~RunnablePort() = default;
    RunnablePort(const RunnablePort&) = delete;
    RunnablePort& operator=(const RunnablePort&) = delete;

    // Keeps the port alive until release(). Called with the events' lock held.
    virtual void retain() noexcept = 0;
    virtual void release() noexcept = 0;
    // Returns the calling thread as a worker of this port. Called for a shared port only; may
    // throw.
    virtual PortWorker& worker_of_this_thread() = 0;
    // Called once, without a lock, by the thread that has closed the port.
    virtual void after_close() = 0;

    [[nodiscard]] bool forked() const noexcept {
        return iocp::fork_generation() != fork_generation;
    }
    // Returns whether the port belongs to this process and is open.
    [[nodiscard]] bool usable() const noexcept { return !closed.load() && !forked(); }
    // Returns whether the calling thread may make the port's turns, if no other thread does.
    [[nodiscard]] bool claimable(Host& host);
    // Returns the deadline `nanoseconds` from now. A negative argument gives -1, which means none.
    // Also works on a closed port, which no longer has a clock.
    [[nodiscard]] std::int64_t after(Host& host, std::int64_t nanoseconds);
    // Returns whether the deadline (negative: none) has passed or the port has ended. Needs the
    // lock.
    [[nodiscard]] bool late(std::int64_t deadline) const noexcept {
        return closed || (deadline >= 0 && core->now() >= deadline);
    }
    // Returns whether begin_close() is complete and everything was handed out. Only the thread that
    // runs the port may ask.
    [[nodiscard]] bool over(Host& host);

    // Marks the port as closed, and releases its backend unless a thread waits for the port. Needs
    // the port's lock.
    void mark_closed() noexcept;
    // Releases the backend of a closed port, unless a thread still waits for the port.
    void release_if_closed(Host& host);

    std::unique_ptr<Port> core;       // null if no backend could be made; set before any other use
    std::atomic<bool> closed{false};  // set with the lock held, before the backend is released
    const std::uint32_t fork_generation{iocp::fork_generation()};
    RunnerLock runner;       // unused by a shared port
    PortWaiters waiters;     // threads that wait for the port, contenders included
    PortWaiters contenders;  // the contenders alone, notified when a runner gives way
    Stops stops;
    Inbox inbox;  // the runner's; unused by a shared port
};

// Keeps a port alive.
class PortRef {
public:
    PortRef() = default;
    // Retains the port. Precondition: the events' lock is held, or the caller keeps the port alive.
    explicit PortRef(RunnablePort& port) noexcept : port_(&port) { port.retain(); }
    PortRef(PortRef&& other) noexcept : port_(std::exchange(other.port_, nullptr)) {}
    PortRef& operator=(PortRef&& other) noexcept {
        std::swap(port_, other.port_);
        return *this;
    }
    ~PortRef() {
        if (port_ != nullptr) {
            port_->release();
        }
    }
    PortRef(const PortRef&) = delete;
    PortRef& operator=(const PortRef&) = delete;

    [[nodiscard]] RunnablePort* get() const noexcept { return port_; }

private:
    RunnablePort* port_{nullptr};
};

}  // namespace iocp::run
