#include "backend/sim/world.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace iocp::sim {

namespace {

constexpr unsigned steps_per_wait = 100'000;  // maximum before a wait returns to its caller

}  // namespace

World::World(const Parameters& parameters, std::uint64_t seed)
    : stack(parameters, seed), transport_(stack), sockets_(stack, transport_) {}

void World::settle() {
    for (std::size_t i = 0; i < stack.changed.size(); ++i) {
        Endpoint* endpoint = stack.find(stack.changed[i]);
        if (endpoint != nullptr) {
            endpoint->changed = false;
            sockets_.look_after(*endpoint);
        }
    }
    stack.changed.clear();
    if (stack.values.threads != 0) {
        posted_.notify_all();
    }
}

// Injects a fault instead of the event, if a parameter asks for one at this event. The event goes
// back into the queue, and is checked again after the fault.
bool World::inject_due_faults(const Event& event) {
    constexpr std::array<std::int64_t Parameters::*, 4> numbers{
        &Parameters::reset_event, &Parameters::half_close_event, &Parameters::stall_event,
        &Parameters::vanish_event};
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (!is_number(stack.values.*numbers[i], stack.counts.events)) {
            continue;
        }
        Endpoint* endpoint = stack.find(event.segment.to);
        if (event.kind == EventKind::segment || event.kind == EventKind::fault) {
            stack.events.push(event.when, event.kind, event.segment);
        } else if (endpoint != nullptr) {
            stack.arm(*endpoint, event.kind, event.when);
        }
        if (endpoint != nullptr) {
            (void)sockets_.inject_fault(*endpoint, static_cast<InjectedFault>(i));
        }
        return true;
    }
    return false;
}

bool World::step(std::int64_t limit) {
    Event event;
    if (!stack.next_event(limit, event)) {
        return false;
    }
    if (inject_due_faults(event)) {
        settle();
        return true;
    }
    if (event.kind == EventKind::segment) {
        transport_.arrive(event.segment);
    } else if (event.kind == EventKind::fault) {
        (void)sockets_.inject_fault(*stack.find(event.segment.to),
                                    static_cast<InjectedFault>(event.segment.flags));
    } else {
        transport_.expire(*stack.find(event.segment.to), event.kind);
    }
    settle();
    return true;
}

// Lets `wake_delay` pass, the time until the thread that was woken runs.
void World::wake_late(std::int64_t limit) {
    const std::int64_t until = std::min(limit, stack.now() + stack.values.wake_delay);
    unsigned steps = 0;
    while (steps++ < steps_per_wait && step(until)) {
    }
    stack.advance(until);
}

bool World::wait(Machine& machine, std::int64_t timeout) {
    std::unique_lock lock(mutex_);
    constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
    const std::int64_t now = stack.now();
    const std::int64_t limit = timeout < 0 || timeout > never - now ? never : now + timeout;
    unsigned steps = 0;
    while (steps < steps_per_wait && step(now)) {
        ++steps;  // events up to now happen before the wait ends
    }
    bool due = true;
    const bool sleeps = !machine.woken && machine.due.empty() && limit != now;
    while (!machine.woken && machine.due.empty() && steps++ < steps_per_wait) {
        if (step(limit)) {
            continue;
        }
        if (limit != never) {
            stack.advance(limit);
            break;
        }
        if (stack.values.threads == 0) {
            due = false;
            break;
        }
        posted_.wait(lock, [&] { return machine.woken || !machine.due.empty() || !stack.idle(); });
    }
    if (sleeps && !machine.due.empty() && stack.values.wake_delay != 0) {
        wake_late(limit);
    }
    machine.woken = false;
    return due;
}

bool World::any_due() const noexcept {
    const auto& machines = stack.machines();
    return std::any_of(machines.begin(), machines.end(),
                       [](const auto& one) { return one->woken || !one->due.empty(); });
}

bool World::pass(std::int64_t timeout) {
    const std::lock_guard lock(mutex_);
    const std::int64_t limit = stack.now() + timeout;
    if (any_due()) {
        return true;
    }
    do {
        if (!step(limit)) {
            stack.advance(limit);
            return false;
        }
    } while (!any_due());
    if (stack.values.wake_delay != 0) {
        wake_late(limit);
    }
    return true;
}

void World::wake(Machine& machine) noexcept {
    {
        const std::lock_guard lock(mutex_);
        machine.woken = true;
    }
    posted_.notify_all();
}

}  // namespace iocp::sim
