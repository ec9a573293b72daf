// The calls that run a port for several threads: each thread is given a record, hands it out, and
// asks again.
#include "run/calls.hpp"
#include "run/locked.hpp"
#include "run/run_call.hpp"
#include "run/worker_call.hpp"

namespace iocp::run {

namespace {

using Next = Port::Next;

constexpr std::size_t max_of_once = 1024;  // maximum of records that one run_once() hands out

// Lets the worker take and hand out records until the port is closed, or over() returns true.
// over(nothing_left) is called with the lock held; `nothing_left` means that the worker has no
// record left.
template <class Over>
void take_part(WorkerCall& call, Host& host, RunnablePort& port, Ran& ran, Over&& over) {
    for (;;) {
        Next next = Next::nothing;
        const bool leave = locked(host, *port.core, [&] {
            if (over(false)) {
                return true;
            }
            next = call.next();
            return next != Next::record && over(true);
        });
        if (next == Next::over) {
            port.after_close();
        }
        if (leave || next == Next::over || next == Next::ended) {
            return;
        }
        if (next == Next::record) {
            ran.count += call.hand_out().count;
            continue;
        }
        ran.error = call.wait(-1);
        if (ran.error) {
            return;
        }
    }
}

// Returns the calling thread's worker. If an outer call of this thread runs the port, returns null
// and sets `ran.refused`.
PortWorker* worker_outside(RunnablePort& port, Ran& ran) {
    PortWorker& worker = port.worker_of_this_thread();
    ran.refused = worker.inside;
    return ran.refused ? nullptr : &worker;
}

}  // namespace

namespace shared {

Ran run(Host& host, RunnablePort& port, bool until_idle) {
    Ran ran;
    PortWorker* worker = worker_outside(port, ran);
    if (worker == nullptr) {
        return ran;
    }
    WorkerCall part(host, port, *worker);
    RunCall call(host, port);
    take_part(part, host, port, ran, [&](bool nothing_left) {
        if (call.stopped()) {
            return true;
        }
        const bool idle = until_idle && nothing_left && port.core->quiet();
        if (idle) {
            port.core->wake_workers();  // other threads may run until idle too
        }
        return idle;
    });
    return ran;
}

// Helps to close the port, unless another thread ends it first. The call then has nothing left to
// do.
Ran close(Host& host, RunnablePort& port) {
    Ran ran;
    PortWorker& worker = port.worker_of_this_thread();
    if (worker.inside) {
        return ran;  // the outer call, which runs this callback, takes part in the close
    }
    WorkerCall part(host, port, worker);
    take_part(part, host, port, ran, [](bool /*nothing_left*/) { return false; });
    return ran;
}

Ran run_once(Host& host, RunnablePort& port, std::int64_t timeout) {
    Ran ran;
    PortWorker* worker = worker_outside(port, ran);
    if (worker == nullptr) {
        return ran;
    }
    const std::int64_t deadline = port.after(host, timeout);
    WorkerCall part(host, port, *worker);
    for (bool waited = false;; waited = true) {
        Next next = Next::nothing;
        bool late = false;
        do {
            next = locked(host, *port.core, [&] {
                late = port.late(deadline);
                return part.next();
            });
            if (next == Next::record) {
                ran.count += part.hand_out().count;
            }
        } while (next == Next::record && ran.count < max_of_once);
        if (next == Next::over) {
            port.after_close();
        }
        if (next != Next::nothing || ran.count != 0 || (late && waited)) {
            return ran;
        }
        ran.error = part.wait(deadline);
        if (ran.error) {
            return ran;
        }
    }
}

// While this get() has no completion, it also takes completions that other threads have kept for a
// get().
Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken) {
    Ran ran;
    PortWorker* worker = worker_outside(port, ran);
    if (worker == nullptr) {
        return ran;
    }
    const std::int64_t deadline = port.after(host, timeout);
    WorkerCall part(host, port, *worker);
    for (bool waited = false;;) {
        if (taken.none()) {
            Inbox nothing;
            ran.count += host.dispatch(port, nothing).count;
        }
        bool late = false;
        Next next = Next::nothing;
        if (!taken.full()) {
            next = locked(host, *port.core, [&] {
                late = port.late(deadline);
                return taken.none() ? part.next() : part.more();
            });
        }
        if (next == Next::record) {
            ran.count += part.hand_out().count;
            continue;
        }
        if (next == Next::over) {
            port.after_close();
        }
        if (!taken.none()) {
            part.keep();
        }
        if (!taken.none() || next != Next::nothing || (late && waited)) {
            return ran;
        }
        ran.error = part.wait(deadline);
        if (ran.error) {
            return ran;
        }
        waited = true;
    }
}

}  // namespace shared

// A thread that still has a record of the port in hand takes no others, because they might have to
// wait for that record.
Error hand_out_now(Host& host, RunnablePort& port) {
    PortWorker& worker = port.worker_of_this_thread();
    if (worker.inside || worker.worker.active()) {
        return {};
    }
    WorkerCall part(host, port, worker);
    Inbox nothing;
    (void)host.dispatch(port, nothing);  // lets the host reserve memory for a completion
    for (std::size_t count = 0; count < max_of_once;) {
        const Next next = locked(host, *port.core, [&] { return part.next(); });
        if (next == Next::over) {
            port.after_close();
        }
        if (next != Next::record) {
            break;
        }
        const Dispatched handed = part.hand_out();
        count += handed.count;
        if (handed.kept) {
            // Wakes all workers, because those in get() may take the kept completion. One of them
            // may lead, and sleep in the backend.
            locked(host, *port.core, [&port] { port.core->wake_workers(); });
        }
    }
    return {};
}

}  // namespace iocp::run
