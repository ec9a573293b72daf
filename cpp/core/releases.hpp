#pragma once

#include <cstddef>

#include "core/admission.hpp"
#include "core/calls.hpp"
#include "core/completion_queue.hpp"
#include "core/effects.hpp"
#include "core/metrics.hpp"
#include "core/timers.hpp"

namespace iocp {

// The last step when an operation ends: the refund of its charge, and its completion. For a direct
// send this step waits until the kernel has released the memory (R03). Every other operation takes
// it at once.
class Releases {
public:
    Releases(Calls& calls, Admission& admission, CompletionQueue& completions, Timers& timers,
             Metrics& metrics, Worklist& work, SlotTable<Operation>& operations)
        : calls_(calls),
          admission_(admission),
          completions_(completions),
          timers_(timers),
          metrics_(metrics),
          work_(work),
          operations_(operations) {}

    // Notes that the bytes of a request are sent, and that the kernel will release their memory
    // later.
    static void expect(Operation& op) noexcept { ++op.releases; }
    // Ends an operation whose result is known: at once, or when the kernel has released its memory.
    void end(Operation& op) noexcept;
    // Notes that the kernel has released the memory of one request.
    void released(Operation& op) noexcept;
    // Resets the connections of all sends that wait for a release. No release will come, because
    // the thread has ended whose ring would have reported it. Precondition: no packet of a newer
    // ring was completed.
    void lose();

    // Returns the number of operations that wait only for their releases. Each is counted in its
    // socket's `releasing` as well.
    [[nodiscard]] std::size_t unreleased() const noexcept { return unreleased_; }

private:
    void complete(Operation& op) noexcept;

    Calls& calls_;
    Admission& admission_;
    CompletionQueue& completions_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    SlotTable<Operation>& operations_;
    std::size_t unreleased_{0};  // operations that are `releasing`
};

}  // namespace iocp
