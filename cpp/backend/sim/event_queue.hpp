#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "backend/sim/memory.hpp"
#include "base/slot_table.hpp"

namespace iocp::sim {

enum Flag : std::uint8_t {
    flag_syn = 1U << 0U,
    flag_ack = 1U << 1U,
    flag_fin = 1U << 2U,
    flag_reset = 1U << 3U,
    flag_update = 1U << 4U,  // brings only a window that has grown
};

// A segment. It has the range of its bytes in the sender's stream, but not the bytes. The sender
// keeps these until they are acknowledged, so its pages stay locked.
struct Segment {
    SlotId from;
    SlotId to;
    std::uint64_t sequence{0};
    std::uint64_t acknowledged{0};
    std::uint32_t length{0};
    std::uint32_t window{0};
    std::uint8_t flags{0};
};

enum class EventKind : std::uint8_t {
    segment,     // `segment` arrives
    retransmit,  // this and the next two: timers of the endpoint `segment.to`
    acknowledge,
    flush,
    fault,
};
inline constexpr std::size_t timer_kinds = 3;  // retransmit, acknowledge, flush

struct Event {
    std::int64_t when{0};  // virtual nanoseconds
    std::uint64_t order{0};
    EventKind kind{EventKind::segment};
    Segment segment;
};

// The coming events, soonest first. Events of one instant keep the order in which they were made.
class EventQueue {
public:
    void push(std::int64_t when, EventKind kind, const Segment& segment) {
        heap_.push_back({when, next_order_++, kind, segment});
        std::push_heap(heap_.begin(), heap_.end(), later);
    }
    Event pop() {
        std::pop_heap(heap_.begin(), heap_.end(), later);
        Event event = heap_.back();
        heap_.pop_back();
        return event;
    }
    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    [[nodiscard]] const Event& first() const noexcept { return heap_.front(); }

private:
    static bool later(const Event& a, const Event& b) noexcept {
        return a.when != b.when ? a.when > b.when : a.order > b.order;
    }

    Vector<Event> heap_;
    std::uint64_t next_order_{0};
};

}  // namespace iocp::sim
