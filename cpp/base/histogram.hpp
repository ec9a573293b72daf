#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace iocp {

// Counts durations in nanoseconds, in a fixed number of buckets. Durations up to 16 ns have a
// bucket for each nanosecond. Above that, each range between two powers of two has 16 buckets of
// equal width. So bound(i) exceeds a duration in bucket i by less than a sixteenth. Bucket i holds
// durations above bound(i - 1) and at most bound(i); the last bucket has no upper bound.
class Histogram {
public:
    static constexpr unsigned precision = 4;  // 2^precision buckets between two powers of two
    // Durations above 2^longest nanoseconds (4.9 hours) share the last bucket.
    static constexpr unsigned longest = 44;
    static constexpr std::size_t buckets = (std::size_t{longest - precision + 1} << precision) + 1;
    static constexpr std::int64_t unbounded = INT64_MAX;

    // A negative duration counts as 0.
    void add(std::int64_t nanoseconds) noexcept {
        const std::int64_t value = std::max<std::int64_t>(nanoseconds, 0);
        ++counts_[index_of(value)];
        ++count_;
        sum_ += static_cast<std::uint64_t>(value);
        max_ = std::max(max_, value);
    }

    [[nodiscard]] static std::size_t index_of(std::int64_t nanoseconds) noexcept {
        // A duration equal to a bound belongs to the bucket that the bound ends.
        const std::uint64_t at = nanoseconds <= 1 ? 0 : static_cast<std::uint64_t>(nanoseconds) - 1;
        const auto width = static_cast<unsigned>(std::bit_width(at));
        if (width > longest) {
            return buckets - 1;
        }
        const unsigned shift = width > precision + 1 ? width - precision - 1 : 0;
        return (std::size_t{shift} << precision) + static_cast<std::size_t>(at >> shift);
    }
    [[nodiscard]] static std::int64_t bound(std::size_t index) noexcept {
        constexpr std::size_t steps = std::size_t{1} << precision;
        if (index >= buckets - 1) {
            return unbounded;
        }
        const std::size_t shift = index < 2 * steps ? 0 : (index >> precision) - 1;
        return static_cast<std::int64_t>((index - (shift << precision) + 1) << shift);
    }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }  // nanoseconds
    [[nodiscard]] std::int64_t max() const noexcept { return max_; }
    [[nodiscard]] std::uint64_t in(std::size_t index) const noexcept { return counts_[index]; }

private:
    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t count_{0};
    std::uint64_t sum_{0};
    std::int64_t max_{0};
};

}  // namespace iocp
