#include "run/turn.hpp"

#include <algorithm>
#include <cassert>
#include <mutex>
#include <vector>

#include "run/locked.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

namespace {

// Returns the deadline of one wait: not later than the next check for signals. A wait in virtual
// time returns at once, and needs the whole deadline to find out whether anything could ever end
// it. Needs the port's lock, or a port that no other thread can close.
std::int64_t sliced(const Port& core, std::int64_t deadline) {
    if (core.capabilities().virtual_time) {
        return deadline;
    }
    const std::int64_t slice = core.after(between_signals);
    return deadline < 0 ? slice : std::min(slice, deadline);
}

}  // namespace

Error turn(Host& host, RunnablePort& port, std::int64_t deadline) {
    assert(!port.core->shared());
    assert(port.forked() || (port.runner.mine() && !port.closed));
    Error error;
    if (!port.inbox.empty()) {
        return error;
    }
    std::vector<Ready>& records = port.inbox.refill();
    auto poll = [&] { error = port.core->poll(sliced(*port.core, deadline), records); };
    host.detach(Blocking(poll));
    return error;
}

Error turn_at_once(Host& host, RunnablePort& port) {
    assert(!port.core->shared());
    assert(port.runner.mine() && !port.closed);
    if (!port.inbox.empty()) {
        return {};
    }
    std::vector<Ready>& records = port.inbox.refill();
    return locked(host, *port.core, [&] {
        (void)port.core->take_woken();  // a turn that does not wait is over at once
        return port.core->poll_now(records);
    });
}

// Another worker may close a shared port at any moment. So the clock is read with the lock held,
// and the core makes no turn of a shared port that has ended.
Error collect(Host& host, RunnablePort& port, std::int64_t nanoseconds, std::uint64_t seen) {
    Error error;
    auto collect = [&] {
        std::int64_t deadline = -1;
        {
            const std::lock_guard lock(port.core->mutex());
            if (port.closed) {
                return;
            }
            deadline = sliced(*port.core, nanoseconds < 0 ? -1 : port.core->after(nanoseconds));
        }
        error = port.core->collect(deadline, seen);
    };
    host.detach(Blocking(collect));
    return error;
}

}  // namespace iocp::run
