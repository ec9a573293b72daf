#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/sim/memory.hpp"

namespace iocp::sim {

// The kinds of event that a line of the trace records.
enum class Step : std::uint8_t {
    sent,           // a segment left
    arrived,        // a segment arrived
    lost,           // a segment was lost
    retransmitted,  // a segment left again
    copied,         // bytes went into a buffer of the socket layer
    delivered,      // bytes went to the reader
    locked,         // bytes of a send stay in the caller's pages
    unlocked,       // those pages are free
    opened,
    closed,
    failed,  // a connection ended with an error
    woken,   // a packet is ready for a port
};
inline constexpr std::size_t steps = 12;

struct TraceLine {
    std::int64_t when{0};
    Step step{Step::sent};
    std::uint32_t endpoint{0};
    std::uint8_t flags{0};
    std::uint64_t sequence{0};
    std::uint32_t length{0};
    std::uint64_t acknowledged{0};
    std::uint32_t window{0};
};

// Everything that happened in the model, as one number, and line by line while lines are kept. The
// trace contains no memory address and no real time, so that the same seed gives the same number on
// every platform.
class Trace {
public:
    void add(const TraceLine& line) {
        mix(static_cast<std::uint64_t>(line.when));
        mix((static_cast<std::uint64_t>(line.step) << 56U) |
            (static_cast<std::uint64_t>(line.flags) << 48U) | line.endpoint);
        mix(line.sequence);
        mix((static_cast<std::uint64_t>(line.length) << 32U) | line.window);
        mix(line.acknowledged);
        if (keeps_) {
            lines_.push_back(line);
        }
    }
    void keep(bool on) noexcept { keeps_ = on; }
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
    [[nodiscard]] const Vector<TraceLine>& lines() const noexcept { return lines_; }
    void clear() noexcept { lines_.clear(); }

private:
    // FNV-1a over words, with a rotation that brings high bits down.
    void mix(std::uint64_t word) noexcept {
        hash_ = (hash_ ^ word) * 0x100000001b3ULL;
        hash_ = (hash_ << 29U) | (hash_ >> 35U);
    }

    std::uint64_t hash_{0xcbf29ce484222325ULL};
    bool keeps_{false};
    Vector<TraceLine> lines_;
};

}  // namespace iocp::sim
