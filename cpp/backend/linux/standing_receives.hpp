#pragma once

#include <poll.h>

#include <cstdint>
#include <vector>

#include "backend/linux/uring_abi.hpp"

namespace iocp {

// Receives that stand in the kernel, and of which of them it may have lost sight. It counts a
// request's wake-ups; at 128 and more of them it only marks the request, and it looks at the mark
// before it gives the count back, never after (io_uring/poll.c). So the last segment of a burst of
// 128 can stay in its socket with nobody told. After so much data that it may have been such a
// burst, the socket itself is asked, once.
class StandingReceives {
public:
    // A request by this name was handed to the kernel.
    void began(std::uint64_t name, int fd);
    // A completion of any request at all; those that began here are told from others by their name.
    void completed(const uring::Cqe& cqe);
    // Calls lost(name) for each request that is in doubt and whose socket has something to read.
    // One that it throws for is called for again.
    template <typename Lost>
    void look(Lost lost) {
        if (lost_.empty()) {
            find_lost();
        }
        for (; !lost_.empty(); lost_.pop_back()) {
            lost(lost_.back());
        }
    }
    // Whether one in doubt has yet to be looked at: the kernel said that its next completion is
    // due.
    [[nodiscard]] bool in_doubt() const noexcept { return !doubted_.empty() || !lost_.empty(); }
    // The ring they stood in is gone.
    void clear() noexcept;

private:
    // Less than 128 segments of 32 bytes are no burst.
    static constexpr std::uint32_t doubtful_bytes = 128 * 32;

    struct Standing {
        std::uint32_t generation{0};
        int fd{-1};                    // -1: none stands by the name of this slot
        std::uint32_t bytes : 29 {0};  // since the socket was last found empty; saturates
        std::uint32_t heard : 1 {0};   // completed since the last look
        std::uint32_t owed : 1 {0};    // the last completion said that there is more
        std::uint32_t doubted : 1 {0};
    };

    void find_lost();

    std::vector<Standing> standing_;  // by slot
    std::vector<std::uint32_t> doubted_;
    std::vector<std::uint64_t> lost_;
    std::vector<pollfd> asked_;
};

}  // namespace iocp
