#pragma once

#include "core/endings.hpp"

namespace iocp {

// Cancels operations (R31). If the kernel has the operation, a cancel only asks, and the operation
// ends with its packet. Any other operation ends at once.
class Cancels {
public:
    Cancels(Calls& calls, SendFlow& flow, CompletionQueue& completions, Metrics& metrics,
            Worklist& work, Endings& endings, SlotTable<Operation>& operations)
        : calls_(calls),
          flow_(flow),
          completions_(completions),
          metrics_(metrics),
          work_(work),
          endings_(endings),
          operations_(operations) {}

    // Cancels the operation. Returns false if it has finished or was cancelled before.
    bool cancel(Operation& op) noexcept;
    // Cancels every operation of the socket, and returns their number.
    unsigned cancel_all(Socket& socket) noexcept;
    // Cancels every operation of the lane: asks the kernel to end the lane's request, and completes
    // the other operations in posting order.
    void cancel_lane(Lane& lane) noexcept;
    // Cancels a disconnect that waits behind the socket's sends, because close() makes it needless.
    void drop_disconnect(Socket& socket) noexcept;
    // Completes every operation of the lane that is marked cancelled. Precondition: the kernel has
    // no request of the lane.
    void finish_cancelled(Lane& lane) noexcept;
    // Repeats every cancel for which there was no memory.
    void ask_again() noexcept;

private:
    void mark(Lane& lane, Operation& op) noexcept {
        lane.note_cancel(op);
        metrics_.enter(op, State::cancelling);
    }
    [[nodiscard]] static Error error_of(const Operation& op) noexcept;

    Calls& calls_;
    SendFlow& flow_;
    CompletionQueue& completions_;
    Metrics& metrics_;
    Worklist& work_;
    Endings& endings_;
    SlotTable<Operation>& operations_;
};

}  // namespace iocp
