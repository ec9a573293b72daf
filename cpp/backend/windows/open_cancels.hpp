#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// The cancelled requests whose packet is still due. Wine 8.0 loses a cancel that comes while it
// continues a partly finished request, and keeps the request pending. Its operation would never
// complete, and the port could never close. So all of them are asked for again after a pause: a
// repeated cancel of a request that is cancelled already does nothing.
class OpenCancels {
public:
    // The pause before a repetition, in nanoseconds.
    static constexpr std::int64_t pause = 10'000'000;

    // Notes that the end of the request is asked for. Returns whether no other cancel is open: the
    // wait that is under way then lasts too long for it.
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
    // Takes the packet of any request.
    void over(const Request& request) noexcept { count_ -= request.cancelled ? 1U : 0U; }
    // Returns whether it is time to ask for all of them again.
    [[nodiscard]] bool due(const Clock& clock) const noexcept {
        return count_ != 0 && clock.now() >= repeat_at_;
    }
    // Notes that all of them were asked for.
    void repeated(const Clock& clock) noexcept { repeat_at_ = clock.now() + pause; }
    // Returns the time that a wait may last, so that no repetition is late (negative: no limit).
    [[nodiscard]] std::int64_t max_wait() const noexcept { return count_ != 0 ? pause : -1; }

private:
    std::size_t count_{0};
    std::int64_t repeat_at_{0};  // when to repeat them, by the clock; meaningless without any
};

}  // namespace iocp
