#pragma once

#include "run/locked.hpp"
#include "run/runnable_port.hpp"

namespace iocp::run {

// Marks a run() as under way until the scope ends, so that stop() ends it.
class RunCall {
public:
    RunCall(Host& host, RunnablePort& port) : host_(host), port_(port) {
        locked(host_, *port_.core, [this] { port_.stops.begin(call_); });
    }
    // A callback may have forked. In the child, a thread that the fork did not copy may hold the
    // port's lock.
    ~RunCall() {
        if (!port_.forked()) {
            locked(host_, *port_.core, [this] { port_.stops.end(call_); });
        }
    }
    RunCall(const RunCall&) = delete;
    RunCall& operator=(const RunCall&) = delete;

    // Returns whether a stop() has ended this run(). Needs the port's lock.
    [[nodiscard]] bool stopped() noexcept { return port_.stops.stopped(call_); }

private:
    Host& host_;
    RunnablePort& port_;
    Stops::Call call_;
};

}  // namespace iocp::run
