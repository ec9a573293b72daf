#pragma once

#include "run/port_waiter.hpp"
#include "run/runnable_port.hpp"

namespace iocp::run {

// The calling thread as the runner of a port, at most until the scope ends. When it releases the
// port it notifies the contenders, or, if there are none, the waiters: one of them has to make the
// turns from then on.
class Runner {
public:
    // `own` is the calling thread's place among the port's waiters, or null if it has none.
    Runner(Host& host, RunnablePort& port, PortWaiter* own = nullptr) noexcept
        : host_(host), port_(port), own_(own) {}
    ~Runner() { release(); }
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    // Makes the thread the runner if the port is free.
    bool acquire(Purpose purpose);
    // Makes the thread the runner. If another thread runs the port on loan, because it only waits,
    // takes the port over from it. Returns false if another thread or an outer call runs the port.
    // Throws the exceptions of Host::signals().
    bool take_over();
    void release() noexcept;

    // Returns whether this scope made the thread the runner.
    [[nodiscard]] bool held() const noexcept { return held_; }
    // Returns whether the thread is the runner, made so by this scope or by an outer one.
    [[nodiscard]] bool here() const { return held_ || port_.runner.mine(); }

    // Closes the port if its close is complete and everything was handed out. Returns whether the
    // port is closed. Precondition: held().
    bool close_if_over();

private:
    Host& host_;
    RunnablePort& port_;
    PortWaiter* own_;
    bool held_{false};
};

}  // namespace iocp::run
