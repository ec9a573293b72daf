#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/sim/endpoint.hpp"
#include "backend/sim/event_queue.hpp"
#include "backend/sim/memory.hpp"
#include "backend/sim/parameters.hpp"
#include "backend/sim/random.hpp"
#include "backend/sim/trace.hpp"

namespace iocp::sim {

struct Counts {
    std::uint64_t events{0};
    std::uint64_t segments{0};       // sent, of every kind
    std::uint64_t data_segments{0};  // of those, with data
    std::uint64_t data_bytes{0};     // in the data segments
    std::uint64_t retransmissions{0};
    std::uint64_t lost{0};
    std::uint64_t delayed_acks{0};     // acknowledgements sent by the timer
    std::uint64_t copied_bytes{0};     // into a buffer of the socket layer
    std::uint64_t delivered_bytes{0};  // to readers
    std::uint64_t faults{0};
    std::uint64_t divisible_calls{0};  // calls that could have moved only a part
};

// The state that transport and socket layer share: endpoints, coming events, the wire, and the
// trace.
class Stack {
public:
    Stack(const Parameters& parameters, std::uint64_t seed) : values(parameters), random(seed) {}

    const Parameters values;
    Random random;
    Trace trace;
    EventQueue events;
    SlotTable<Endpoint> endpoints;
    Map<Name, SlotId> names;
    Vector<SlotId> changed;  // endpoints to serve before the event is over
    Counts counts;

    [[nodiscard]] std::int64_t now() const noexcept {
        return clock_.load(std::memory_order_relaxed);
    }
    void advance(std::int64_t when) noexcept {
        if (when > now()) {
            clock_.store(when, std::memory_order_relaxed);
        }
    }

    [[nodiscard]] Machine& add_machine();
    [[nodiscard]] const std::vector<std::unique_ptr<Machine>>& machines() const noexcept {
        return machines_;
    }
    // Returns a new endpoint, or null if there is no room for it in the machine's non-paged pool or
    // in the table.
    Endpoint* add_endpoint(Machine& machine);
    // Resets the endpoint as if it had just been opened, but keeps its address bound. Its
    // generation changes, so that segments and events on their way to it find no endpoint.
    void renew(Endpoint& endpoint);
    void release(Endpoint& endpoint);  // gives back its resources and its slot
    // Returns the endpoint with this id if it is in use, or null.
    [[nodiscard]] Endpoint* find(SlotId id) noexcept {
        Endpoint* endpoint = endpoints.find(id);
        return endpoint != nullptr && endpoint->in_use ? endpoint : nullptr;
    }
    [[nodiscard]] Endpoint* find(Handle handle) noexcept;
    [[nodiscard]] Name free_name(std::uint32_t address) noexcept;

    void arm(Endpoint& endpoint, EventKind kind, std::int64_t when);
    void disarm(Endpoint& endpoint, EventKind kind) noexcept { timer(endpoint, kind).due = -1; }
    [[nodiscard]] static EndpointTimer& timer(Endpoint& endpoint, EventKind kind) noexcept {
        return endpoint.timers[static_cast<std::size_t>(kind) - 1];
    }
    // Takes the next event that still has an effect, if it is due by `limit`, and moves the clock
    // to its time. Events without an effect, such as a disarmed timer's, do not move the clock.
    bool next_event(std::int64_t limit, Event& out);
    // Returns whether no event is left that still has an effect.
    [[nodiscard]] bool idle();

    // Sends a segment through the machine's network card and the wire.
    void emit(Endpoint& from, Segment segment);
    // Answers a segment for an endpoint that the host does not have.
    void answer_stray(const Segment& stray);

    void touch(Endpoint& endpoint) {
        if (!endpoint.changed) {
            endpoint.changed = true;
            changed.push_back(endpoint.id);
        }
    }
    void note(Step step, const Endpoint& endpoint, std::uint64_t sequence = 0,
              std::uint64_t length = 0);
    void note(Step step, const Endpoint& endpoint, const Segment& segment);

private:
    bool live(const Event& event);
    [[nodiscard]] bool lost(const Segment& segment);
    [[nodiscard]] std::int64_t travel();

    std::atomic<std::int64_t> clock_{0};
    std::vector<std::unique_ptr<Machine>> machines_;
    Vector<Endpoint*> by_slot_;
    std::uint16_t next_port_{49'151};
};

}  // namespace iocp::sim
