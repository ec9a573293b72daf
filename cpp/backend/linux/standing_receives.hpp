#pragma once

#include <poll.h>

#include <cstdint>
#include <vector>

#include "backend/linux/uring_abi.hpp"

namespace iocp {

// The multishot receives in the kernel. The kernel may fail to report the last data of a burst. It
// counts the wake-ups of a request, and after 128 of them only marks the request (io_uring/poll.c).
// It checks the mark before it resets the count, never after, so the last segment can stay in the
// socket unreported. A request that has received enough data for such a burst is in doubt: this
// class polls its socket, once.
class StandingReceives {
public:
    // Notes that the request whose user_data is `name` went to the kernel.
    void began(std::uint64_t name, int fd);
    // Notes the completion of a request. Ignores a request that began() has not noted.
    void completed(const uring::Cqe& cqe);
    // Polls the sockets of the requests in doubt, and calls lost(name) for each request whose
    // socket has something to read. If lost() throws, the next look() calls it again.
    template <typename Lost>
    void look(Lost lost) {
        if (lost_.empty()) {
            find_lost();
        }
        for (; !lost_.empty(); lost_.pop_back()) {
            lost(lost_.back());
        }
    }
    // Returns whether look() has work left, so that the thread must not sleep: requests in doubt,
    // or lost ones that are not reported yet.
    [[nodiscard]] bool in_doubt() const noexcept { return !doubted_.empty() || !lost_.empty(); }
    // Forgets all requests, because their ring is closed.
    void clear() noexcept;

private:
    // Minimum bytes of a burst: 128 segments of 32 bytes.
    static constexpr std::uint32_t doubtful_bytes = 128 * 32;

    struct Standing {
        std::uint32_t generation{0};
        int fd{-1};                    // -1: no request of this slot is in the kernel
        std::uint32_t bytes : 29 {0};  // since the socket was last found empty; saturates
        std::uint32_t heard : 1 {0};   // a completion has come since the last look()
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
