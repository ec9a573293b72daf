#include "run/runner.hpp"

#include <cassert>
#include <utility>

#include "run/locked.hpp"
#include "run/waiting_thread.hpp"

namespace iocp::run {

namespace {

// Marks the calling thread as a contender, until the scope ends. The thread wants to run a port
// that a waiting thread has on loan, and the waiters give way to it. If it does not get the port,
// the destructor notifies the waiters. If it does, the later release of the port notifies them.
class Contender {
public:
    Contender(Host& host, RunnablePort& port, WaitingThread& thread)
        : port_(port), waiter_(host, port, thread) {
        place_.waiter = &thread;
        port_.contenders.add(place_);
        port_.runner.begin_contending();
        waiter_.notify_others();
    }
    ~Contender() {
        port_.runner.end_contending();
        (void)port_.contenders.remove(place_);
        if (!port_.runner.mine()) {
            waiter_.notify_others();
        }
    }
    Contender(const Contender&) = delete;
    Contender& operator=(const Contender&) = delete;

private:
    RunnablePort& port_;
    PortWaiter waiter_;
    WaitPlace place_;  // among the contenders
};

}  // namespace

bool Runner::acquire(Purpose purpose) {
    assert(!held_);
    held_ = port_.runner.acquire(purpose);
    return held_;
}

bool Runner::take_over() {
    if (acquire(Purpose::run)) {
        return true;
    }
    if (port_.runner.mine() || port_.forked()) {
        return false;
    }
    WaitingThread thread;
    const Contender contender(host_, port_, thread);
    for (;;) {
        thread.rearm();
        switch (port_.runner.contend()) {
            case RunnerLock::Answer::acquired:
                held_ = true;
                return true;
            case RunnerLock::Answer::refused:
                return false;
            case RunnerLock::Answer::lent:
                break;
        }
        host_.signals();
        thread.sleep(host_, between_signals);
    }
}

void Runner::release() noexcept {
    if (!std::exchange(held_, false) || port_.forked()) {
        return;
    }
    port_.runner.release();
    if (port_.runner.contended()) {
        // One of the contenders will run the port, so the waiters need not wake.
        port_.contenders.notify_all();
    } else if (own_ != nullptr) {
        own_->notify_others();
    } else {
        port_.waiters.notify_all();
    }
}

bool Runner::close_if_over() {
    assert(held_);
    if (!port_.over(host_)) {
        return false;
    }
    locked(host_, *port_.core, [this] { port_.mark_closed(); });
    port_.after_close();
    return true;
}

}  // namespace iocp::run
