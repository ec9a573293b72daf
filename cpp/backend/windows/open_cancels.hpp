#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// The cancelled requests whose packet is still due. Wine 8.0 loses a cancel that comes while it
// continues a partly finished request, and keeps the request pending. Its operation would never
// complete, and the port could never close. So all these cancels are repeated after a pause. A
// repeated cancel of a request that is cancelled already does nothing.
class OpenCancels {
public:
    // The pause before the cancels are repeated, in nanoseconds.
    static constexpr std::int64_t pause = 10'000'000;

    // Notes that the request is cancelled. Returns whether no other cancel is open. If so, a wait
    // that is under way may last too long to repeat this cancel in time.
    [[nodiscard]] bool asked(Request& request, const Clock& clock) noexcept {
        if (request.cancelled) {
            return false;
        }
        request.cancelled = true;
        if (count_++ != 0) {
            return false;
        }
        repeated(clock);
        return true;
    }
    // Notes the packet of a request, whether or not it was cancelled.
    void over(const Request& request) noexcept { count_ -= request.cancelled ? 1U : 0U; }
    // Returns whether it is time to repeat all open cancels.
    [[nodiscard]] bool due(const Clock& clock) const noexcept {
        return count_ != 0 && clock.now() >= repeat_at_;
    }
    // Notes that all open cancels were just asked for.
    void repeated(const Clock& clock) noexcept { repeat_at_ = clock.now() + pause; }
    // Returns how long a wait may last so that the cancels are repeated in time (negative: no
    // limit).
    [[nodiscard]] std::int64_t max_wait() const noexcept { return count_ != 0 ? pause : -1; }

private:
    std::size_t count_{0};
    std::int64_t repeat_at_{0};  // when to repeat the cancels; meaningless if none is open
};

}  // namespace iocp
