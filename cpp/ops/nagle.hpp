#pragma once

#include <cstdint>

namespace iocp {

// The state of Nagle's algorithm on one socket. `holding` means that the system holds back bytes
// that it has taken. Systems that do not show this report `holding` whenever the algorithm is on.
enum class Nagle : std::uint8_t { off, idle, holding };

// The latest small sends of a socket, to find the pattern that Nagle's algorithm stalls: two sends,
// each less than a segment, and then a wait for data (R19).
struct NagleWatch {
    std::uint8_t sends : 2 {0};  // small sends since the last received data
    bool settled : 1 {false};    // it is known whether the sends stall; the system is asked no more
    std::uint8_t held : 2 {0};   // times that the system held the second send back
    std::uint8_t idle : 3 {0};   // times that the system did not hold it back

    static constexpr std::uint8_t pattern = 2;
    // Value of `sends`: the system was asked since the last data.
    static constexpr std::uint8_t asked = 3;

    void sent(bool small) noexcept {
        if (sends != asked) {
            sends = !small ? 0 : (sends == 0 ? 1 : pattern);
        }
    }
    void heard() noexcept { sends = 0; }
    [[nodiscard]] bool due() const noexcept { return sends == pattern && !settled; }
    // Takes the system's answer. Returns whether it proves that the socket's sends stall.
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
