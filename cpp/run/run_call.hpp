#pragma once

#include "run/locked.hpp"
#include "run/runnable_port.hpp"

namespace iocp::run {

// One run() that is under way, which a stop ends, until the scope ends.
class RunCall {
public:
    RunCall(Host& host, RunnablePort& port) : host_(host), port_(port) {
        locked(host_, *port_.core, [this] { port_.stops.begin(call_); });
    }
    // A callback may have forked: a thread that the child lacks may hold the port's lock there.
    ~RunCall() {
        if (!port_.forked()) {
            locked(host_, *port_.core, [this] { port_.stops.end(call_); });
        }
    }
    RunCall(const RunCall&) = delete;
    RunCall& operator=(const RunCall&) = delete;

    // Needs the port's lock.
    [[nodiscard]] bool stopped() noexcept { return port_.stops.stopped(call_); }

private:
    Host& host_;
    RunnablePort& port_;
    Stops::Call call_;
};

}  // namespace iocp::run
