#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/cancels.hpp"
#include "core/sockets.hpp"

namespace iocp {

// Runs the operations in lanes: starts them, and handles their progress, their completion and their
// failure (R03, R04, R30). Subscriptions are in lanes too, but the classes Subscriptions and
// Accepting handle their results.
class IoQueue {
public:
    IoQueue(Backend& backend, Calls& calls, Sockets& sockets, Admission& admission, SendFlow& flow,
            Timers& timers, Metrics& metrics, Worklist& work, Endings& endings, Cancels& cancels,
            SlotTable<Operation>& operations)
        : backend_(backend),
          calls_(calls),
          sockets_(sockets),
          admission_(admission),
          flow_(flow),
          timers_(timers),
          metrics_(metrics),
          work_(work),
          endings_(endings),
          cancels_(cancels),
          operations_(operations) {}

    // Makes an operation in a free slot. Null without memory.
    [[nodiscard]] Operation* create(Socket& socket, OperationKind kind) noexcept;
    // Accepts a posted operation: the application gets its completion from now on. Precondition: if
    // there is a timeout, memory for a timer is reserved.
    void accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept;
    // Frees the slot of an operation whose completion was handed out and whose lease was given
    // back.
    void retire(Operation& op) noexcept;
    // The two steps of retire() for a notified completion: leave_socket() when a thread takes the
    // completion, and retire_notified() once the lease was given back.
    void leave_socket(Operation& op) noexcept { --std::exchange(op.socket, nullptr)->outstanding; }
    void retire_notified(Operation& op) noexcept;

    // Starts operations from the head of the lane, up to a subscription.
    void start(Socket& socket, Lane& lane);
    // Sends as much of the waiting sends as the system takes at once, without a request.
    void send_now(Socket& socket);
    // Returns whether the lane's first operation can be started. It can if it is not started yet,
    // not held and not paused.
    [[nodiscard]] static bool startable(const Lane& lane) noexcept {
        return lane.head != nullptr && lane.started == 0 && !lane.head->held && !lane.head->paused;
    }
    // Starts an operation again after the pause that followed its error. The timer of the pause
    // calls it. Precondition: the operation is at the head of its lane.
    void resume(Operation& op) noexcept {
        op.paused = false;
        work_.add(*op.socket, effect::start(*op.socket, op.socket->lane_of(op)));
    }
    // Handles the packet of the lane's request. Precondition: the operation is no subscription.
    void complete(Operation& op, Packet& packet);
    // Handles a fatal error with which the system refused or ended the operation.
    void fail_by(const Operation& op, int code) noexcept;
    // Returns whether a receive with MSG_WAITALL goes on after it got `got` bytes. It ends when its
    // buffer is full, at the end of the stream (0 bytes), by an error, or by a cancel.
    [[nodiscard]] static bool goes_on(const Operation& op, std::size_t got) noexcept {
        return op.waits_for_all && got != 0 && op.remaining() != 0;
    }

    [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }

private:
    [[nodiscard]] static unsigned run_length(const Lane& lane) noexcept;
    StartResult start(Operation& op, unsigned count) noexcept;
    void ask_later(Socket& socket, Lane& lane) noexcept;
    void progress(Socket& socket, Lane& lane, const StartResult& result);
    void progress_send(Socket& socket, Lane& lane, std::size_t bytes);
    void fail(Socket& socket, Lane& lane, int code);
    static void disconnected(const Operation& op) noexcept;

    Backend& backend_;
    Calls& calls_;
    Sockets& sockets_;
    Admission& admission_;
    SendFlow& flow_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    Endings& endings_;
    Cancels& cancels_;
    SlotTable<Operation>& operations_;
    std::size_t outstanding_{0};  // accepted operations that are not retired
};

}  // namespace iocp
