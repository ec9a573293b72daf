#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/cancels.hpp"
#include "core/sockets.hpp"

namespace iocp {

// One direction of a socket, from an operation's place in its lane to the end of its requests:
// start, progress and failure (R03, R04, R30). Subscriptions are in lanes too, but Subscriptions
// and Accepting handle their results.
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

    // Takes a slot. Null without memory.
    [[nodiscard]] Operation* create(Socket& socket, OperationKind kind) noexcept;
    // Accepts the operation. Precondition: with a timeout there is room for a timer.
    void accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept;
    // Retires an operation whose completion is handed out and whose lease is given back.
    void retire(Operation& op) noexcept;
    // retire() in two steps, for a notified completion: leave_socket() with the turn that ends it,
    // and retire_notified() once its lease is given back.
    void leave_socket(Operation& op) noexcept { --std::exchange(op.socket, nullptr)->outstanding; }
    void retire_notified(Operation& op) noexcept;

    // Starts operations from the head of the lane, up to a subscription.
    void start(Socket& socket, Lane& lane);
    // Sends what the system takes at once of the sends that wait, without a request.
    void send_now(Socket& socket);
    // Returns whether the lane's head can be started: neither started yet, nor held, nor paused.
    [[nodiscard]] static bool startable(const Lane& lane) noexcept {
        return lane.head != nullptr && lane.started == 0 && !lane.head->held && !lane.head->paused;
    }
    // Ends a pause of the operation, which is the head of its lane.
    void resume(Operation& op) noexcept {
        op.paused = false;
        work_.add(*op.socket, effect::start(*op.socket, op.socket->lane_of(op)));
    }
    // Handles the packet of a request that heads its lane. Precondition: it is no subscription.
    void complete(Operation& op, Packet& packet);
    // Handles a fatal error of the system that the operation met.
    void fail_by(const Operation& op, int code) noexcept;
    // Returns whether a wait-for-all receive goes on after a part. It ends with its last byte, the
    // end of the stream (nothing got), an error or a cancel.
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
