#pragma once

#include <ctime>

namespace iocp {

// Repeats the attempt until it succeeds, for about 200 ms. Returns whether it succeeded. The kernel
// finishes the work of an ended thread, and frees the memory of a closed ring, a short while later.
template <class Attempt>
bool in_time(Attempt&& attempt) {
    constexpr int attempts = 200;
    constexpr timespec pause{0, 1'000'000};
    for (int i = 0; i < attempts; ++i) {
        if (attempt()) {
            return true;
        }
        (void)::nanosleep(&pause, nullptr);
    }
    return attempt();
}

}  // namespace iocp
