// The calls that run a port. This file has those for a port that one thread runs; the others are in
// shared_calls.cpp.
#include "run/calls.hpp"

#include <cassert>

#include "run/locked.hpp"
#include "run/run_call.hpp"
#include "run/runner.hpp"
#include "run/turn.hpp"

namespace iocp::run {

namespace {

// Makes the thread the runner of an open port. Returns false, with the reason in `ran`, if that
// fails. The port may be closed while the thread contends.
[[nodiscard]] bool begin(Runner& runner, const RunnablePort& port, Ran& ran) {
    if (!runner.take_over()) {
        ran.refused = true;
    } else if (port.closed) {
        ran.error = port_is_closed;
    }
    return !ran.refused && !ran.error;
}

// Does the same as begin(), except that a thread which is the runner already stays the runner. An
// event loop, for example, stays the runner between two calls. The runner that began first closes
// the port.
[[nodiscard]] bool begin_or_go_on(Runner& runner, const RunnablePort& port, Ran& ran) {
    if (!runner.here()) {
        return begin(runner, port, ran);
    }
    if (port.closed) {
        ran.error = port_is_closed;
    }
    return !ran.error;
}

bool take_woken(Host& host, RunnablePort& port) {
    return locked(host, *port.core, [&port] { return port.core->take_woken(); });
}

// The runner may read the port's clock without the lock, because no other thread closes the port.
bool late(const RunnablePort& port, std::int64_t deadline) {
    return deadline >= 0 && port.core->now() >= deadline;
}

// Makes a turn and checks for signals.
Error turn_and_check(Host& host, RunnablePort& port, std::int64_t deadline) {
    const Error error = turn(host, port, deadline);
    if (!error) {
        host.signals();
    }
    return error;
}

}  // namespace

Ran run(Host& host, RunnablePort& port, bool until_idle) {
    if (port.core->shared()) {
        return shared::run(host, port, until_idle);
    }
    Ran ran;
    Runner runner(host, port);
    if (!begin(runner, port, ran)) {
        return ran;
    }
    RunCall call(host, port);
    for (;;) {
        ran.count += host.dispatch(port, port.inbox).count;
        const bool stopped = locked(host, *port.core, [&] {
            (void)port.core->take_woken();
            return call.stopped();
        });
        if (stopped || runner.close_if_over() ||
            (until_idle && locked(host, *port.core, [&port] { return port.core->quiet(); }))) {
            return ran;
        }
        ran.error = turn_and_check(host, port, -1);
        if (ran.error) {
            return ran;
        }
    }
}

Ran run_once(Host& host, RunnablePort& port, std::int64_t timeout) {
    if (port.core->shared()) {
        return shared::run_once(host, port, timeout);
    }
    Ran ran;
    const std::int64_t deadline = port.after(host, timeout);
    Runner runner(host, port);
    if (!begin(runner, port, ran)) {
        return ran;
    }
    do {
        ran.error = turn_and_check(host, port, deadline);
        if (ran.error) {
            return ran;
        }
        ran.count = host.dispatch(port, port.inbox).count;
        if (runner.close_if_over() || ran.count != 0 || take_woken(host, port)) {
            return ran;
        }
    } while (!late(port, deadline));
    return ran;
}

Ran make_turn(Host& host, RunnablePort& port, std::int64_t timeout) {
    assert(!port.core->shared());
    Ran ran;
    const bool waits = timeout != 0;
    const std::int64_t deadline = waits ? port.after(host, timeout) : 0;
    Runner runner(host, port);
    if (!begin_or_go_on(runner, port, ran)) {
        return ran;
    }
    if (!waits) {
        ran.error = turn_at_once(host, port);
    } else {
        ran.error = turn(host, port, deadline);
        (void)take_woken(host, port);
    }
    if (!ran.error) {
        host.signals();
    }
    ran.count = port.inbox.size() + (port.core->any_notified() ? 1U : 0U);
    return ran;
}

Ran hand_out(Host& host, RunnablePort& port) {
    assert(!port.core->shared());
    Ran ran;
    Runner runner(host, port);
    if (begin_or_go_on(runner, port, ran)) {
        ran.count = host.dispatch(port, port.inbox).count;
        if (runner.held()) {
            (void)runner.close_if_over();
        }
    }
    return ran;
}

Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken) {
    if (port.core->shared()) {
        return shared::get(host, port, timeout, taken);
    }
    Ran ran;
    const std::int64_t deadline = port.after(host, timeout);
    Runner runner(host, port);
    if (!begin(runner, port, ran)) {
        return ran;
    }
    for (bool waited = false;; waited = true) {
        ran.count += host.dispatch(port, port.inbox).count;
        if (runner.close_if_over() || !taken.none() || (waited && late(port, deadline)) ||
            take_woken(host, port)) {
            return ran;
        }
        ran.error = turn_and_check(host, port, deadline);
        if (ran.error) {
            return ran;
        }
    }
}

Ran close(Host& host, RunnablePort& port, std::int64_t timeout) {
    Ran ran;
    const bool begun = locked(host, *port.core, [&] {
        if (!port.closed) {
            port.core->begin_close(timeout);
        }
        return !port.closed;
    });
    if (!begun) {
        return ran;
    }
    if (port.core->shared()) {
        return shared::close(host, port);
    }
    Runner runner(host, port);
    if (!begin(runner, port, ran)) {
        return {};  // the thread that runs the port closes it, and its run() returns
    }
    if (port.waiters.any() && !port.claimable(host)) {
        return ran;  // the ring belongs to a waiting thread, whose next turn closes the port
    }
    while (!runner.close_if_over()) {
        ran.error = turn_and_check(host, port, -1);
        if (ran.error) {
            return ran;
        }
        ran.count += host.dispatch(port, port.inbox).count;
    }
    return ran;
}

void stop(Host& host, RunnablePort& port) {
    locked(host, *port.core, [&port] {
        port.stops.stop();
        if (port.core->shared()) {
            port.core->wake_workers();
        } else {
            port.core->wake();
        }
    });
}

Error turn_now(Host& host, RunnablePort& port) {
    if (!port.usable()) {
        return {};
    }
    if (port.core->shared()) {
        return hand_out_now(host, port);
    }
    Runner runner(host, port);
    if (!runner.acquire(Purpose::wait) || !port.claimable(host)) {
        return {};
    }
    const Error error = turn(host, port, port.after(host, 0));
    if (error) {
        return error.fault == Fault::wrong_thread ? Error{} : error;
    }
    (void)host.dispatch(port, port.inbox);
    (void)runner.close_if_over();
    return {};
}

}  // namespace iocp::run
