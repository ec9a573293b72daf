#pragma once

#include "run/runnable_port.hpp"

namespace iocp::run {

// Makes a thread one of the waiters of a port, until the scope ends. The last waiter of a closed
// port releases the backend.
class PortWaiter {
public:
    PortWaiter(Host& host, RunnablePort& port, Waiter& thread) noexcept : host_(host), port_(port) {
        place_.waiter = &thread;
        port_.waiters.add(place_);
    }
    ~PortWaiter() {
        if (port_.waiters.remove(place_)) {
            port_.release_if_closed(host_);
        }
    }
    PortWaiter(const PortWaiter&) = delete;
    PortWaiter& operator=(const PortWaiter&) = delete;

    // Notifies the other waiters.
    void notify_others() noexcept { port_.waiters.notify_others(place_); }

private:
    Host& host_;
    RunnablePort& port_;
    WaitPlace place_;
};

}  // namespace iocp::run
