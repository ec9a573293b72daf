// The table of endpoints, their timers, and the wire between them.
#include "backend/sim/stack.hpp"

#include <algorithm>

namespace iocp::sim {

namespace {

// The n-th machine connects from 10.0.128.n.
constexpr std::uint32_t first_address = 0x0a00'8000U;
constexpr std::uint16_t first_free_port = 49'152;
constexpr std::int64_t second = 1'000'000'000;

}  // namespace

Machine& Stack::add_machine() {
    machines_.push_back(std::make_unique<Machine>());
    machines_.back()->address = first_address + static_cast<std::uint32_t>(machines_.size());
    return *machines_.back();
}

Endpoint* Stack::add_endpoint(Machine& machine) {
    if (!endpoints.reserve() || !machine.system.take_pool(values, values.socket_price)) {
        return nullptr;
    }
    Endpoint& endpoint = endpoints.take();
    while (by_slot_.size() <= endpoint.id.slot) {
        by_slot_.push_back(nullptr);
    }
    by_slot_[endpoint.id.slot] = &endpoint;
    endpoint.in_use = true;
    endpoint.machine = &machine;
    endpoint.nagle = values.nagle != 0;
    endpoint.send_buffer =
        static_cast<std::uint64_t>(std::max(values.send_buffer, values.min_send_buffer));
    endpoint.receive_buffer = static_cast<std::uint64_t>(values.receive_buffer);
    endpoint.receive_window = static_cast<std::uint64_t>(values.receive_window);
    endpoint.retransmit_timeout = values.retransmit_first;
    note(Step::opened, endpoint);
    return &endpoint;
}

void Stack::release(Endpoint& endpoint) {
    note(Step::closed, endpoint);
    System& system = endpoint.machine->system;
    system.give_pool(values.socket_price);
    system.unlock(endpoint.out.cut(0));
    if (endpoint.bound) {
        names.erase(endpoint.bound_name);
    }
    endpoints.give_back(endpoint);
}

void Stack::renew(Endpoint& endpoint) {
    ++endpoint.id.generation;
    if (endpoint.bound) {
        names[endpoint.bound_name] = endpoint.id;
    }
    endpoint.stage = Stage::idle;
    endpoint.error = 0;
    endpoint.local = endpoint.bound ? endpoint.bound_name : Name{};
    endpoint.remote = {};
    endpoint.peer = no_endpoint;
    endpoint.in = {};
    endpoint.out = {};
    endpoint.timers = {};
    endpoint.retransmit_timeout = values.retransmit_first;
    endpoint.retries = 0;
    endpoint.changed = false;
    touch(endpoint);
}

Endpoint* Stack::find(Handle handle) noexcept {
    const auto slot = static_cast<std::size_t>(handle - first_handle);
    if (handle < first_handle || slot >= by_slot_.size()) {
        return nullptr;
    }
    Endpoint* found = by_slot_[slot];
    return found != nullptr && found->in_use && found->owned ? found : nullptr;
}

Name Stack::free_name(std::uint32_t address) noexcept {
    do {
        next_port_ =
            next_port_ == UINT16_MAX ? first_free_port : static_cast<std::uint16_t>(next_port_ + 1);
    } while (names.contains({address, next_port_}));
    return {address, next_port_};
}

void Stack::arm(Endpoint& endpoint, EventKind kind, std::int64_t when) {
    EndpointTimer& armed = timer(endpoint, kind);
    armed.due = when;
    if (armed.queued < 0 || armed.queued > when) {
        armed.queued = when;
        Segment target;
        target.to = endpoint.id;
        events.push(when, kind, target);
    }
}

// Returns whether the first event still has an effect. An event whose timer was set to a later time
// goes back into the queue at that time.
bool Stack::live(const Event& event) {
    Endpoint* endpoint = find(event.segment.to);
    if (event.kind == EventKind::segment) {
        return true;
    }
    if (endpoint == nullptr) {
        return false;
    }
    if (event.kind == EventKind::fault) {
        return endpoint->stage == Stage::connected;
    }
    EndpointTimer& armed = timer(*endpoint, event.kind);
    if (armed.queued != event.when) {
        return false;
    }
    if (armed.due == event.when) {
        return true;
    }
    armed.queued = -1;
    if (armed.due >= 0) {
        arm(*endpoint, event.kind, armed.due);
    }
    return false;
}

bool Stack::idle() {
    while (!events.empty()) {
        const Event event = events.first();
        if (live(event)) {
            return false;
        }
        (void)events.pop();
    }
    return true;
}

bool Stack::next_event(std::int64_t limit, Event& out) {
    while (!events.empty() && events.first().when <= limit) {
        out = events.pop();
        if (!live(out)) {
            continue;
        }
        advance(out.when);
        ++counts.events;
        if (out.kind != EventKind::segment && out.kind != EventKind::fault) {
            EndpointTimer& armed = timer(*find(out.segment.to), out.kind);
            armed = {};
        }
        return true;
    }
    return false;
}

bool Stack::lost(const Segment& segment) {
    // A segment that only reopens a window is never lost: no timer of the model asks for it again.
    return (segment.flags & flag_update) == 0 &&
           (is_number(values.lose_segment, counts.segments) || random.chance(values.loss));
}

// Returns the delay of one way for the present segment, with its jitter and reordering.
std::int64_t Stack::travel() {
    std::int64_t delay = values.delay;
    if (values.jitter > 0) {
        delay += static_cast<std::int64_t>(random.next() %
                                           static_cast<std::uint64_t>(values.jitter + 1));
    }
    if (is_number(values.late_segment, counts.segments) || random.chance(values.reorder)) {
        delay += values.reorder_delay != 0 ? values.reorder_delay
                                           : std::max<std::int64_t>(values.delay, 1000);
    }
    return delay;
}

void Stack::emit(Endpoint& from, Segment segment) {
    segment.from = from.id;
    ++counts.segments;
    counts.data_segments += segment.length != 0 ? 1U : 0U;
    counts.data_bytes += segment.length;
    note(Step::sent, from, segment);
    Machine& machine = *from.machine;
    std::int64_t leaves = now();
    bool dropped = from.vanished;
    if (values.bandwidth > 0) {
        const std::int64_t start = std::max(leaves, machine.card_free);
        const std::int64_t bytes = segment.length + values.header_bytes;
        const std::int64_t waiting = (start - leaves) * values.bandwidth / second;
        if (values.nic_queue != 0 && waiting > values.nic_queue &&
            (segment.flags & flag_update) == 0) {
            dropped = true;
        } else {
            leaves = machine.card_free = start + (bytes * second / values.bandwidth);
        }
    }
    if (dropped || lost(segment)) {
        ++counts.lost;
        note(Step::lost, from, segment);
        return;
    }
    events.push(leaves + travel(), EventKind::segment, segment);
}

void Stack::answer_stray(const Segment& stray) {
    if ((stray.flags & flag_reset) != 0 || find(stray.from) == nullptr) {
        return;
    }
    Segment answer;
    answer.from = stray.to;
    answer.to = stray.from;
    if ((stray.flags & flag_fin) != 0 && stray.length == 0) {
        // Acknowledges the end of the stream, as a host in TIME_WAIT does.
        answer.flags = flag_ack;
        answer.acknowledged = stray.sequence + 1;
    } else if (stray.length != 0 || (stray.flags & flag_syn) != 0) {
        answer.flags = flag_reset;
    } else {
        return;
    }
    ++counts.segments;
    events.push(now() + travel(), EventKind::segment, answer);
}

void Stack::note(Step step, const Endpoint& endpoint, std::uint64_t sequence,
                 std::uint64_t length) {
    TraceLine line;
    line.when = now();
    line.step = step;
    line.endpoint = endpoint.id.slot;
    line.sequence = sequence;
    line.length = static_cast<std::uint32_t>(length);
    trace.add(line);
}

void Stack::note(Step step, const Endpoint& endpoint, const Segment& segment) {
    trace.add({now(), step, endpoint.id.slot, segment.flags, segment.sequence, segment.length,
               segment.acknowledged, segment.window});
}

}  // namespace iocp::sim
