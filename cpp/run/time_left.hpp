#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace iocp::run {

// The time that is left of a wait. The wait may change its clock: a port of the model has a virtual
// time of its own, which ends when the port closes. Times of two clocks are never compared.
class TimeLeft {
public:
    // `timeout` is in nanoseconds; negative: no limit.
    explicit TimeLeft(std::int64_t timeout) noexcept : left_(timeout) {}

    // Notes that the clock named `clock` shows `now`, and returns the time left; negative: no
    // limit.
    std::int64_t at(const void* clock, std::int64_t now) noexcept {
        const std::int64_t last = std::exchange(last_, now);
        const bool same = clock_.has_value() && *clock_ == clock;
        clock_ = clock;
        if (left_ > 0 && same) {
            left_ = std::max<std::int64_t>(left_ - std::max<std::int64_t>(now - last, 0), 0);
        }
        return left_;
    }

private:
    std::int64_t left_;
    std::int64_t last_{0};
    std::optional<const void*> clock_;  // none before the first call
};

}  // namespace iocp::run
