#include "run/worker_call.hpp"

#include <cassert>
#include <utility>

#include "run/locked.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

namespace {

// Notes at the end of the scope that a worker's record was handed out, also if a callback threw. A
// host that could not take the record leaves it in the inbox, for the worker's next call.
class HandingOut {
public:
    HandingOut(Host& host, RunnablePort& port, PortWorker& worker) noexcept
        : host_(host), port_(port), worker_(worker) {}
    ~HandingOut() {
        if (worker_.inbox.empty() && !port_.forked()) {
            locked(host_, *port_.core,
                   [this] { port_.core->workers().handed_out(worker_.worker); });
        }
    }
    HandingOut(const HandingOut&) = delete;
    HandingOut& operator=(const HandingOut&) = delete;

private:
    Host& host_;
    RunnablePort& port_;
    PortWorker& worker_;
};

}  // namespace

WorkerCall::WorkerCall(Host& host, RunnablePort& port, PortWorker& worker)
    : host_(host), port_(port), worker_(worker) {
    assert(port.core->shared() && !worker.inside);
    worker_.inside = true;
    if (worker_.inbox.empty()) {
        locked(host_, *port_.core, [this] { port_.core->workers().give_back(worker_.worker); });
    }
}

WorkerCall::~WorkerCall() {
    worker_.inside = false;
    // A thread that a forked child lacks may hold the lock. A worker with a record stays at work,
    // so that the port does not end under it.
    if (port_.forked() || !worker_.inbox.empty()) {
        return;
    }
    locked(host_, *port_.core, [this] {
        if (keeps_) {
            port_.core->workers().go_away(worker_.worker);
        } else {
            port_.core->workers().leave(worker_.worker);
        }
    });
}

// The worker that gets `over` closes the port before another one gets `ended`.
Port::Next WorkerCall::next() {
    if (!worker_.inbox.empty()) {
        return Port::Next::record;  // a call before this one ended before it was handed out
    }
    Ready ready;
    const Port::Next found = port_.core->next(worker_.worker, ready);
    if (found == Port::Next::record) {
        worker_.inbox.refill().push_back(std::move(ready));
    } else if (found == Port::Next::over) {
        port_.mark_closed();
        port_.core->wake_workers();
    }
    return found;
}

Port::Next WorkerCall::more() {
    if (!worker_.inbox.empty()) {
        return Port::Next::record;
    }
    Ready ready;
    if (!port_.core->workers().take(worker_.worker, ready)) {
        return Port::Next::nothing;
    }
    worker_.inbox.refill().push_back(std::move(ready));
    return Port::Next::record;
}

Dispatched WorkerCall::hand_out() {
    const HandingOut scope(host_, port_, worker_);
    return host_.dispatch(port_, worker_.inbox);
}

Error WorkerCall::wait(std::int64_t deadline) {
    if (port_.core->any_notified()) {
        Inbox nothing;
        (void)host_.dispatch(port_, nothing);
        return {};
    }
    Error error;
    auto wait = [&] {
        error =
            port_.core->wait_for_next(worker_.worker, deadline, between_signals, host_.interrupt());
    };
    host_.detach(Blocking(wait));
    if (!error) {
        host_.signals();
    }
    return error;
}

}  // namespace iocp::run
