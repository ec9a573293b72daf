#pragma once

#include <cstdint>
#include <vector>

#include "run/runner.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

// The maximum time between two checks of a port that belongs to another thread, in nanoseconds.
// That thread may have ended.
inline constexpr std::int64_t between_looks = 100'000'000;

// A port that a waiting thread needs. During the wait the thread is one of the port's waiters, and
// keeps the right to run the port until a contender comes.
class AwaitedPort {
public:
    AwaitedPort(Host& host, PortRef port, WaitingThread& thread) noexcept
        : host_(host),
          ref_(std::move(port)),
          port_(*ref_.get()),
          thread_(thread),
          waiter_(host, port_, thread),
          runner_(host, port_, &waiter_) {}
    ~AwaitedPort() = default;
    AwaitedPort(const AwaitedPort&) = delete;
    AwaitedPort& operator=(const AwaitedPort&) = delete;

    [[nodiscard]] RunnablePort& port() noexcept { return port_; }
    // Returns whether, by the last check, only another thread may run the port.
    [[nodiscard]] bool foreign() const noexcept { return foreign_; }

    // Returns whether this thread may make the port's turns: no thread runs the port, this thread
    // runs it already, or the port is made for several threads. Releases the port if a contender
    // wants it.
    bool acquire();
    // Releases the port, so that a routine or a callback of another port may run it.
    void let_go() noexcept { runner_.release(); }
    // Hands over the notified completions, which any thread may do.
    void hand_over();
    // Makes a turn of at most `nanoseconds` (negative: no limit), and hands out its records until a
    // contender comes. Inside a callback of the port the records stay for the runner. `mine` are
    // the ports that the thread has acquired. The others of them are released before callbacks run,
    // because a callback may wait. That wait would keep those ports from contenders, and their
    // records from itself. Precondition: acquire() returned true.
    Error turn(std::int64_t nanoseconds, const std::vector<AwaitedPort*>& mine = {});

private:
    using Ports = std::vector<AwaitedPort*>;

    Error turn_as_runner(std::int64_t nanoseconds, const Ports& mine);
    Error turn_in_callback(std::int64_t nanoseconds);
    Error turn_shared(std::int64_t nanoseconds, const Ports& mine);
    void let_go_of_others(const Ports& mine) const noexcept;

    Host& host_;
    PortRef ref_;
    RunnablePort& port_;
    WaitingThread& thread_;
    PortWaiter waiter_;  // outlives runner_, whose end notifies the other waiters
    Runner runner_;
    bool foreign_{false};
};

}  // namespace iocp::run
