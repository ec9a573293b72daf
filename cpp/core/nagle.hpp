#pragma once

#include <cstdint>

namespace iocp {

// What a system can say of Nagle's algorithm on one socket. `holding`: it keeps back bytes that the
// system has taken; where that cannot be seen, that it is on at all.
enum class Nagle : std::uint8_t { off, idle, holding };

// What a socket remembers of its latest small sends, for the pattern that Nagle's algorithm makes
// wait: two sends that are segments of their own, and then nothing but waiting for data (R19).
struct NagleWatch {
    std::uint8_t sends : 2 {0};  // small ones since data came last
    bool settled : 1 {false};    // nothing is left to find out
    std::uint8_t held : 2 {0};   // times that the system held the second one back
    std::uint8_t idle : 3 {0};   // times that it did not

    static constexpr std::uint8_t pattern = 2;
    static constexpr std::uint8_t asked = 3;  // in `sends`: the system was asked since data came

    void sent(bool small) noexcept {
        if (sends != asked) {
            sends = !small ? 0 : (sends == 0 ? 1 : pattern);
        }
    }
    void heard() noexcept { sends = 0; }
    [[nodiscard]] bool due() const noexcept { return sends == pattern && !settled; }
    // Whether the answer settles that the socket's sends stall.
    bool answered(Nagle answer) noexcept {
        sends = asked;
        if (answer == Nagle::holding) {
            settled = ++held == 3;
            return settled;
        }
        settled = answer == Nagle::off || ++idle == 7;
        return false;
    }
};

}  // namespace iocp
