#include "run/wait.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "run/locked.hpp"

namespace iocp::run {

namespace {

constexpr std::int64_t slice_of_several = 2'000'000;  // maximum turn if a wait needs several ports

std::int64_t steady_now() noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

Wait::Wait(Host& host, Awaited& awaited, Routines* routines, std::int64_t timeout)
    : host_(host), awaited_(awaited), routines_(routines), left_(timeout) {
    const std::lock_guard lock(Event::mutex());
    awaited_.enlist(thread_);
    if (routines_ != nullptr) {
        alert_.waiter = &thread_;
        routines_->waiters.add(alert_);
    }
}

Wait::~Wait() {
    const std::lock_guard lock(Event::mutex());
    awaited_.withdraw();
    if (routines_ != nullptr) {
        routines_->waiters.remove(alert_);
    }
}

// Each round forgets earlier notifications before it checks anything. So a change after the check
// ends the sleep of the same round.
Waited Wait::wait() {
    for (bool looked = false;; looked = true) {
        thread_.rearm();
        find_ports();
        for (AwaitedPort& port : ports_) {
            port.hand_over();
        }
        if (run_routines()) {
            return {Waited::End::routines_ran};
        }
        switch (awaited_.look()) {
            case Look::met:
                return {Waited::End::met};
            case Look::closed:
                return {Waited::End::closed};
            case Look::pending:
                break;
        }
        host_.signals();
        if (looked && remaining() == 0) {
            return {Waited::End::timed_out};
        }
        Waited turned = turn_or_sleep();
        if (turned.end == Waited::End::failed) {
            return turned;
        }
    }
}

// Looks for ports again in each round, because an operation of another port may be posted with the
// event meanwhile.
void Wait::find_ports() {
    FoundPorts found;
    awaited_.find_ports(host_, found);
    if (routines_ != nullptr) {
        routines_->find_ports(found);
    }
    for (PortRef& port : found.all()) {
        if (!known(*port.get())) {
            ports_.emplace_back(host_, std::move(port), thread_);
        }
    }
}

bool Wait::known(const RunnablePort& port) noexcept {
    return std::any_of(ports_.begin(), ports_.end(),
                       [&port](AwaitedPort& one) { return &one.port() == &port; });
}

bool Wait::run_routines() {
    if (routines_ == nullptr || !routines_->any_due()) {
        return false;
    }
    for (AwaitedPort& port : ports_) {
        port.let_go();
    }
    routines_->run_due();
    return true;
}

// Reads the clock of a model's port with the port's lock held, because the port may be closed at
// any moment and then has no clock.
std::int64_t Wait::remaining() {
    for (AwaitedPort& one : ports_) {
        RunnablePort& port = one.port();
        if (port.usable() && port.core->capabilities().virtual_time) {
            const std::int64_t now = port.after(host_, 0);
            if (!port.closed) {
                return left_.at(&port, now);
            }
        }
    }
    return left_.at(nullptr, steady_now());
}

std::int64_t Wait::at_most(std::int64_t limit) {
    const std::int64_t left = remaining();
    return left < 0 ? limit : std::min(left, limit);
}

// Each turn and sleep is given the time that is left after the previous one. A turn whose callbacks
// run may release the other ports.
Waited Wait::turn_or_sleep() {
    std::vector<AwaitedPort*> mine;
    bool foreign = false;
    for (AwaitedPort& port : ports_) {
        if (port.acquire()) {
            mine.push_back(&port);
        }
        foreign = foreign || port.foreign();
    }
    if (mine.empty()) {
        thread_.sleep(host_, at_most(foreign ? between_looks : between_signals));
        return {};
    }
    const bool several = mine.size() > 1;
    for (AwaitedPort* port : mine) {
        if (several && !port->acquire()) {
            continue;
        }
        const std::int64_t time = several   ? at_most(slice_of_several)
                                  : foreign ? at_most(between_looks)
                                            : remaining();
        if (const Error error = port->turn(time, mine)) {
            return {Waited::End::failed, error, PortRef(port->port())};
        }
    }
    if (std::all_of(mine.begin(), mine.end(),
                    [](const AwaitedPort* port) { return port->foreign(); })) {
        thread_.sleep(host_, at_most(between_looks));
    }
    return {};
}

}  // namespace iocp::run
