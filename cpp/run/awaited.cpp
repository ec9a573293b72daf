#include "run/awaited.hpp"

#include <algorithm>
#include <cassert>
#include <mutex>

#include "run/locked.hpp"

namespace iocp::run {

void FoundPorts::add(RunnablePort& port) {
    const auto same = [&port](const PortRef& one) { return one.get() == &port; };
    // Thousands of events often have the same port, so the port that was found last is checked
    // first.
    if (!std::any_of(found_.rbegin(), found_.rend(), same)) {
        found_.emplace_back(port);
    }
}

void AwaitedEvents::enlist(Waiter& waiter) noexcept {
    for (std::size_t i = 0; i < places_.size(); ++i) {
        places_[i].waiter = &waiter;
        events_[i]->event_.waiters.add(places_[i]);
    }
}

void AwaitedEvents::withdraw() noexcept {
    for (std::size_t i = 0; i < places_.size(); ++i) {
        events_[i]->event_.waiters.remove(places_[i]);
    }
}

void AwaitedEvents::find_ports(Host& /*host*/, FoundPorts& out) {
    const std::lock_guard lock(Event::mutex());
    for (const PortEvent* one : events_) {
        if (RunnablePort* port = one->port()) {
            out.add(*port);
        }
    }
}

Look AwaitedEvents::look() {
    const std::lock_guard lock(Event::mutex());
    bool met = all_ && !events_.empty();
    for (std::size_t i = 0; i < events_.size(); ++i) {
        if (events_[i]->closed_) {
            return Look::closed;
        }
        if (events_[i]->event_.is_set() != all_) {
            met = !all_;
            index_ = i;
            break;
        }
    }
    if (!met) {
        return Look::pending;
    }
    if (all_) {
        for (PortEvent* one : events_) {
            one->event_.pass();
        }
    } else {
        events_[index_]->event_.pass();
    }
    return Look::met;
}

void AwaitedOperation::find_ports(Host& host, FoundPorts& out) {
    if (!notifies_ && !port_.forked()) {
        notifies_ = true;
        locked(host, *port_.core, [this] {
            if (Operation* op = operation()) {
                op->notifies = true;
            }
        });
    }
    out.add(port_);
}

}  // namespace iocp::run
