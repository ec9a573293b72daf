#include "run/waiting_thread.hpp"

#include <mutex>
#include <utility>

namespace iocp::run {

void WaitingThread::notify() noexcept {
    if (std::exchange(notified_, true)) {
        return;
    }
    if (turning_ != nullptr) {
        turning_->wake();
    } else {
        parker_.wake();
    }
}

void WaitingThread::rearm() noexcept {
    const std::lock_guard lock(Event::mutex());
    notified_ = false;
    parker_.rearm();
}

void WaitingThread::sleep(Host& host, std::int64_t nanoseconds) {
    {
        const std::lock_guard lock(Event::mutex());
        if (notified_) {
            return;  // a notification during a turn has woken the backend, not the parker
        }
    }
    auto park = [&] { parker_.park(nanoseconds, host.interrupt()); };
    host.detach(Blocking(park));
}

WaitingTurn::WaitingTurn(WaitingThread& thread, TurnBackend& backend) noexcept : thread_(thread) {
    const std::lock_guard lock(Event::mutex());
    thread_.turning_ = &backend;
    may_wait_ = !thread_.notified_;
}

WaitingTurn::~WaitingTurn() {
    const std::lock_guard lock(Event::mutex());
    thread_.turning_ = nullptr;
}

}  // namespace iocp::run
