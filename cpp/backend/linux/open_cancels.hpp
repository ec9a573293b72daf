#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>

#include "backend/backend.hpp"

namespace iocp {

// The cancels whose requests have not ended. The kernel does not find a request whose wake-up is
// under way, and its refusal does not say which request. So after a refusal and a pause all these
// cancels are submitted again.
class OpenCancels {
public:
    // The pause before the cancels are repeated, in nanoseconds. The wake-up is over by then.
    static constexpr std::int64_t pause = 1'000'000;

    // Notes the cancel of the request whose user_data is `name`. Throws std::bad_alloc if memory
    // runs out.
    void asked(std::uint64_t name) { names_.insert(name); }
    // Notes the end of a request, whether or not it was cancelled.
    void over(std::uint64_t name) noexcept {
        if (!names_.empty()) {
            names_.erase(name);
        }
    }
    // Notes that the kernel refused one of the cancels.
    void refused() noexcept { refused_ = true; }
    // Calls ask(name) for each open cancel, if one was refused and the pause is over. If ask()
    // throws, the next call after a pause asks for all of them again.
    template <class Ask>
    void repeat(const Clock& clock, Ask&& ask) {
        refused_ = refused_ && !names_.empty();
        if (!refused_) {
            return;
        }
        const std::int64_t now = clock.now();
        if (now - repeated_ < pause) {
            return;
        }
        repeated_ = now;
        for (const std::uint64_t name : names_) {
            ask(name);
        }
        refused_ = false;
    }
    // Returns how long a wait of timeout_ns may last so that the cancels are repeated in time
    // (negative: no limit). The thread that waits may call it without the port's lock.
    [[nodiscard]] std::int64_t limit(std::int64_t timeout_ns) const noexcept {
        return refused_ && (timeout_ns < 0 || timeout_ns > pause) ? pause : timeout_ns;
    }
    [[nodiscard]] bool contains(std::uint64_t name) const { return names_.contains(name); }
    [[nodiscard]] std::size_t size() const noexcept { return names_.size(); }
    // Forgets all cancels, because their ring is closed.
    void clear() noexcept { names_.clear(); }

private:
    std::unordered_set<std::uint64_t> names_;  // user_data of cancelled requests in the kernel
    // Whether a cancel was refused and not repeated since. It is never written during a wait.
    bool refused_{false};
    std::int64_t repeated_{0};  // the time of the last repetition
};

}  // namespace iocp
