#include "run/awaited_port.hpp"

#include <algorithm>
#include <cassert>

#include "run/calls.hpp"
#include "run/turn.hpp"

namespace iocp::run {

bool AwaitedPort::acquire() {
    if (!port_.usable()) {
        runner_.release();
        foreign_ = false;
        return false;
    }
    if (port_.core->shared()) {
        return true;
    }
    foreign_ = !port_.claimable(host_);
    if (foreign_ || (runner_.held() && port_.runner.contended())) {
        runner_.release();
        return false;
    }
    if (runner_.here()) {
        return true;
    }
    if (!runner_.acquire(Purpose::wait)) {
        return false;
    }
    if (port_.closed) {
        runner_.release();  // the port was closed after the first check
        return false;
    }
    return true;
}

void AwaitedPort::hand_over() {
    if (!port_.forked() && port_.core->any_notified()) {
        Inbox nothing;
        (void)host_.dispatch(port_, nothing);
    }
}

Error AwaitedPort::turn(std::int64_t nanoseconds, const Ports& mine) {
    if (port_.core->shared()) {
        return turn_shared(nanoseconds, mine);
    }
    const Error error =
        runner_.held() ? turn_as_runner(nanoseconds, mine) : turn_in_callback(nanoseconds);
    foreign_ = error.fault == Fault::wrong_thread;
    if (foreign_) {
        // The ring belongs to another thread, which may have found the port taken and gone to
        // sleep. release() notifies that thread.
        runner_.release();
        return {};
    }
    return error;
}

Error AwaitedPort::turn_as_runner(std::int64_t nanoseconds, const Ports& mine) {
    Error error;
    {
        const WaitingTurn turning(thread_, port_.core->backend());
        const std::int64_t deadline =
            port_.after(host_, turning.may_wait() ? nanoseconds : std::int64_t{0});
        error = run::turn(host_, port_, deadline);
    }
    if (!error) {
        if (!port_.inbox.empty()) {
            let_go_of_others(mine);
        }
        (void)host_.dispatch(port_, port_.inbox);
        (void)runner_.close_if_over();
    }
    if (port_.runner.contended()) {
        runner_.release();  // at once: turns of other ports may come before the next acquire()
    }
    return error;
}

Error AwaitedPort::turn_in_callback(std::int64_t nanoseconds) {
    const WaitingTurn turning(thread_, port_.core->backend());
    return collect(host_, port_, turning.may_wait() ? nanoseconds : 0);
}

// Makes a turn, or waits for the end of a turn that another worker makes.
Error AwaitedPort::turn_shared(std::int64_t nanoseconds, const Ports& mine) {
    const std::uint64_t seen = port_.core->turns();
    Error error;
    {
        const WaitingTurn turning(thread_, port_.core->backend());
        const std::int64_t longest =
            nanoseconds < 0 ? between_looks : std::min(nanoseconds, between_looks);
        error = collect(host_, port_, turning.may_wait() ? longest : 0, seen);
    }
    if (error || port_.closed) {
        return error;
    }
    let_go_of_others(mine);
    return hand_out_now(host_, port_);
}

void AwaitedPort::let_go_of_others(const Ports& mine) const noexcept {
    for (AwaitedPort* other : mine) {
        if (other != this) {
            other->let_go();
        }
    }
}

}  // namespace iocp::run
