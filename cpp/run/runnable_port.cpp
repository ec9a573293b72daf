#include "run/runnable_port.hpp"

#include "run/locked.hpp"

namespace iocp::run {

bool RunnablePort::claimable(Host& host) {
    return locked(host, *core, [this] { return !closed && core->backend().claimable(); });
}

std::int64_t RunnablePort::after(Host& host, std::int64_t nanoseconds) {
    return nanoseconds < 0 ? -1 : locked(host, *core, [&] { return core->after(nanoseconds); });
}

bool RunnablePort::over(Host& host) {
    return inbox.empty() && locked(host, *core, [this] { return core->finished(); });
}

// Sets `closed` before it checks for waiters. A thread that starts to wait counts itself first and
// then reads `closed`, so at least one of the two threads notices the other.
void RunnablePort::mark_closed() noexcept {
    closed = true;
    if (!waiters.any()) {
        core->release_backend();
    }
}

void RunnablePort::release_if_closed(Host& host) {
    if (closed && !forked()) {
        locked(host, *core, [this] {
            if (!waiters.any()) {
                core->release_backend();
            }
        });
    }
}

}  // namespace iocp::run
