#include "run/worker_call.hpp"

#include <cassert>
#include <utility>

#include "run/locked.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

namespace {

// Notes at the end of the scope that a worker's record was handed out, even if a callback threw. A
// record that Host::dispatch() did not take stays in the inbox, and is not noted.
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
    assert(port.core->shared() && !worker.inside && worker.inbox.empty());
    worker_.inside = true;
    locked(host_, *port_.core, [this] { port_.core->workers().give_back(worker_.worker); });
}

// Puts a record that Host::dispatch() did not take back into the port, because this thread need not
// ask again.
WorkerCall::~WorkerCall() {
    worker_.inside = false;
    if (port_.forked()) {
        return;  // a thread that a forked child lacks may hold the lock
    }
    locked(host_, *port_.core, [this] {
        Workers& workers = port_.core->workers();
        if (!worker_.inbox.empty()) {
            workers.put_back(worker_.worker, worker_.inbox.take());
            workers.leave(worker_.worker);
        } else if (keeps_) {
            workers.go_away(worker_.worker);
        } else {
            workers.leave(worker_.worker);
        }
    });
}

// The worker that gets Next::over closes the port before another one gets Next::ended.
Port::Next WorkerCall::next() {
    if (!worker_.inbox.empty()) {
        return Port::Next::record;  // Host::dispatch() did not take this record
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
