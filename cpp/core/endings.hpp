#pragma once

#include "core/releases.hpp"
#include "core/send_flow.hpp"

namespace iocp {

// Ends operations that have left their lanes (R03, R05). No other class ends an operation.
class Endings {
public:
    Endings(Calls& calls, Admission& admission, SendFlow& flow, CompletionQueue& completions,
            Timers& timers, Metrics& metrics, Worklist& work, SlotTable<Operation>& operations)
        : calls_(calls),
          admission_(admission),
          flow_(flow),
          timers_(timers),
          work_(work),
          releases_(calls, admission, completions, timers, metrics, work, operations) {}

    // Ends an operation with an error or with its result. The refund and the completion wait while
    // the kernel still reads the operation's memory.
    void finish(Operation& op, Error error) noexcept;
    // Ends every operation of the lane with the error. Precondition: the kernel has no request of
    // the lane.
    void refuse_rest(Lane& lane, Error error) noexcept;
    // Ends a connect that failed; every failed connect ends here. `answered`: the system itself
    // ended the attempt. Precondition: the operation has left its lane, and nothing of the lane is
    // started.
    void end_connect(Lane& lane, Operation& op, Error error, bool answered) noexcept;

    // Returns the object that tracks ended operations whose memory the kernel still reads.
    [[nodiscard]] Releases& releases() noexcept { return releases_; }

    // Returns whether the socket's failure is also the error of the operation. It is not the error
    // of a receive if only sending has failed, or if a close gave up on unsent data.
    [[nodiscard]] static bool fails(const Operation& op) noexcept {
        const Socket& socket = *op.socket;
        return socket.failure && (op.sending() || !(socket.gave_up || socket.send_broken));
    }

private:
    Calls& calls_;
    Admission& admission_;
    SendFlow& flow_;
    Timers& timers_;
    Worklist& work_;
    Releases releases_;
};

}  // namespace iocp
