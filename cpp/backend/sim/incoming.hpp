#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "backend/sim/byte_queue.hpp"
#include "backend/sim/memory.hpp"

namespace iocp::sim {

// The receiving half of a connection: the transport's window, and behind it the socket layer's
// receive buffer, which keeps the window open (003, 6).
class Incoming {
public:
    std::uint64_t next{0};            // the next expected position
    std::uint64_t window_edge{0};     // the end of the window that the peer knows
    std::uint64_t fin_at{none};       // the position of the end of stream, once it has arrived
    std::uint32_t unacknowledged{0};  // segments since the last acknowledgement
    bool acknowledge_now{false};
    bool update_window{false};
    bool ended{false};  // everything up to the end of stream has arrived
    ByteQueue bytes;    // in order, not read yet

    // Notes that the bytes [begin, finish) have arrived. Returns the position up to which the
    // stream is now whole; the caller must append the bytes from `next` to there.
    std::uint64_t note(std::uint64_t begin, std::uint64_t finish) {
        if (begin > next) {
            out_of_order_.insert(std::upper_bound(out_of_order_.begin(), out_of_order_.end(),
                                                  std::pair(begin, finish)),
                                 {begin, finish});
            return next;
        }
        std::uint64_t whole = std::max(next, finish);
        std::size_t used = 0;
        while (used < out_of_order_.size() && out_of_order_[used].first <= whole) {
            whole = std::max(whole, out_of_order_[used++].second);
        }
        out_of_order_.erase(out_of_order_.begin(),
                            out_of_order_.begin() + static_cast<std::ptrdiff_t>(used));
        return whole;
    }
    // Moves bytes into the receive buffer while it has room. Returns how many bytes were moved.
    std::size_t absorb(std::uint64_t capacity) noexcept {
        absorbed_ = std::max(absorbed_, bytes.front());
        const std::uint64_t upto = std::min(bytes.back(), bytes.front() + capacity);
        const std::uint64_t moved = upto > absorbed_ ? upto - absorbed_ : 0;
        absorbed_ += moved;
        return static_cast<std::size_t>(moved);
    }
    // Returns the room in a transport window of `window` bytes.
    [[nodiscard]] std::uint64_t room(std::uint64_t window) const noexcept {
        const std::uint64_t held = bytes.back() - std::max(absorbed_, bytes.front());
        return held < window ? window - held : 0;
    }

    static constexpr std::uint64_t none = ~std::uint64_t{0};

private:
    // The ranges that have arrived although bytes before them are missing.
    Vector<std::pair<std::uint64_t, std::uint64_t>> out_of_order_;
    std::uint64_t absorbed_{0};
};

}  // namespace iocp::sim
