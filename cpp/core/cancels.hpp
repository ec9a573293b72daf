#pragma once

#include "core/endings.hpp"

namespace iocp {

// The cancels of operations (R31). A cancel only asks: an operation that the kernel holds ends with
// its packet, and every other one ends at once.
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

    // Returns whether the cancel was taken. False if the operation has finished or was cancelled
    // before.
    bool cancel(Operation& op) noexcept;
    // Cancels every operation of the socket, and returns their number.
    unsigned cancel_all(Socket& socket) noexcept;
    // Asks for the end of the lane's request, and completes the rest in posting order.
    void cancel_lane(Lane& lane) noexcept;
    // Ends the disconnect behind the socket's sends, because a close has overtaken it.
    void drop_disconnect(Socket& socket) noexcept;
    // Completes every operation that is marked cancelled. Precondition: no request is started.
    void finish_cancelled(Lane& lane) noexcept;
    // Asks again for every cancel for which there was no memory.
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
