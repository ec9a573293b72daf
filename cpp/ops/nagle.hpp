#pragma once

#include <cstdint>

namespace iocp {

// The state of Nagle's algorithm on one socket. `holding` means that the algorithm keeps back bytes
// that send calls have given to the system. Systems that cannot tell report `holding` whenever the
// algorithm is on.
enum class Nagle : std::uint8_t { off, idle, holding };

// Remembers the latest small sends of a socket, to find the pattern that Nagle's algorithm stalls:
// two sends, each smaller than a segment, and then a wait for data (R19).
struct NagleWatch {
    std::uint8_t sends : 2 {0};  // small sends since the last received data
    bool settled : 1 {false};    // the answer is final: the system is not asked again
    std::uint8_t held : 2 {0};   // times that the system held the second send back
    std::uint8_t idle : 3 {0};   // times that the system did not hold the second send back

    static constexpr std::uint8_t pattern = 2;
    // This value of `sends` means that the system was asked after data was last received.
    static constexpr std::uint8_t asked = 3;

    void sent(bool small) noexcept {
        if (sends != asked) {
            sends = !small ? 0 : (sends == 0 ? 1 : pattern);
        }
    }
    void heard() noexcept { sends = 0; }
    [[nodiscard]] bool due() const noexcept { return sends == pattern && !settled; }
    // Records the state that the system reported. Returns whether it proves that Nagle's algorithm
    // stalls the socket's sends.
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
