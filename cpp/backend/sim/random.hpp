#pragma once

#include <cstdint>

namespace iocp::sim {

// splitmix64: 64 bits of state, and the same numbers from the same seed on every platform.
class Random {
public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

    std::uint64_t next() noexcept {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t value = state_;
        value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        value = (value ^ (value >> 27U)) * 0x94d049bb133111ebULL;
        return value ^ (value >> 31U);
    }
    // Returns a number from 0 up to, not including, `bound`; 0 for a bound of 0.
    std::uint64_t below(std::uint32_t bound) noexcept { return ((next() >> 32U) * bound) >> 32U; }
    // Returns true in `millionths` of 1,000,000 cases. A chance of 0 draws no number, so that a
    // fault that is off does not change the sequence for the others.
    bool chance(std::int64_t millionths) noexcept {
        return millionths > 0 && static_cast<std::int64_t>(below(1'000'000)) < millionths;
    }

private:
    std::uint64_t state_;
};

}  // namespace iocp::sim
