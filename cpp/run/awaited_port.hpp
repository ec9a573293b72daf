#pragma once

#include <cstdint>
#include <vector>

#include "run/runner.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

// The maximum time between two looks at a port whose thread may have ended, in nanoseconds.
inline constexpr std::int64_t between_looks = 100'000'000;

// A port that a waiting thread needs. While the thread waits it is one of the port's waiters, and
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
    // Returns whether another thread alone may run the port, as far as the last look has shown.
    [[nodiscard]] bool foreign() const noexcept { return foreign_; }

    // Returns whether this thread may make the port's turns: no thread runs it, or this thread
    // does, or it is made for several. Gives way to contenders.
    bool acquire();
    // Gives the port up, so that a routine or a callback of another port may run it.
    void let_go() noexcept { runner_.release(); }
    // Hands over the notified completions, which any thread may do.
    void hand_over();
    // Makes a turn of at most `nanoseconds` (negative: no limit) and hands out what it brought, as
    // far as no contender comes. Inside a callback of the port the records stay for the runner.
    // Before callbacks run it gives up the other ports of `mine`, which the thread has acquired: a
    // callback may wait, and would keep them from their contenders, and from its own wait.
    // Precondition: acquire() returned true.
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
    PortWaiter waiter_;  // outlives runner_, whose end notifies the others
    Runner runner_;
    bool foreign_{false};
};

}  // namespace iocp::run
