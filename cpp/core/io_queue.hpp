#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/admission.hpp"
#include "core/calls.hpp"
#include "core/completion_queue.hpp"
#include "core/effects.hpp"
#include "core/metrics.hpp"
#include "core/send_flow.hpp"
#include "core/sockets.hpp"
#include "core/timers.hpp"

namespace iocp {

inline constexpr Error socket_is_closed = Error::of(Fault::socket_closed, "the socket is closed");
inline constexpr Error send_was_cut = Error::of(
    Fault::socket_closed,
    "an earlier send was cut part-way, so the stream's framing is gone; close the socket");

// One direction of a socket, from an operation's place in its lane to its one completion: start,
// progress, failure, cancel and end (R03, R04, R30, R31). Subscriptions are in lanes too, but
// Subscriptions and Accepting handle their results.
class IoQueue {
public:
    IoQueue(Backend& backend, Calls& calls, Sockets& sockets, Admission& admission, SendFlow& flow,
            CompletionQueue& completions, Timers& timers, Metrics& metrics, Worklist& work,
            SlotTable<Operation>& operations)
        : backend_(backend),
          calls_(calls),
          sockets_(sockets),
          admission_(admission),
          flow_(flow),
          completions_(completions),
          timers_(timers),
          metrics_(metrics),
          work_(work),
          operations_(operations) {}

    // Takes a slot. Null without memory.
    [[nodiscard]] Operation* create(Socket& socket, OperationKind kind) noexcept;
    // Accepts the operation. Precondition: with a timeout there is room for a timer.
    void accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept;
    // Retires an operation whose completion is handed out and whose lease is given back.
    void retire(Operation& op) noexcept;
    // The same in two steps, for a notified completion.
    void leave_socket(Operation& op) noexcept { --std::exchange(op.socket, nullptr)->outstanding; }
    void retire_notified(Operation& op) noexcept;

    // Starts operations from the head of the lane, up to a subscription.
    void start(Socket& socket, Lane& lane);
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
    // Notes that the kernel has released the memory of one request of a direct send.
    void released(Operation& op) noexcept;
    // Resets the connections of sends that wait for a release, because the thread whose ring owed
    // the releases ended. Precondition: no packet of a later ring was completed.
    void lose_releases();

    // Returns whether the cancel was taken. False if the operation has finished or was cancelled
    // before.
    bool cancel(Operation& op) noexcept;
    unsigned cancel_all(Socket& socket) noexcept;
    // Asks for the end of the lane's request, and completes the rest in posting order.
    void cancel_lane(Lane& lane) noexcept;
    // Completes every operation that is marked cancelled. Precondition: no request is started.
    void finish_cancelled(Lane& lane) noexcept;
    // Ends the disconnect behind the socket's sends, because a close has overtaken it.
    void drop_disconnect(Socket& socket) noexcept;
    // Asks again for every cancel for which there was no memory.
    void ask_again() noexcept;

    // Ends an operation that has left its lane, and refunds its charge. Nothing else ends one.
    // End and refund wait while the kernel still reads the operation's memory.
    void finish(Operation& op, Error error) noexcept;
    // Handles a fatal error of the system that the operation met.
    void fail_by(const Operation& op, int code) noexcept;
    // Returns whether the socket's failure is the operation's as well. A receive does not fail when
    // sending alone is over, nor by a close that gives up on its sends.
    [[nodiscard]] static bool fails(const Operation& op) noexcept {
        const Socket& socket = *op.socket;
        return socket.failure && (op.sending() || !(socket.gave_up || socket.send_broken));
    }
    // Returns whether a wait-for-all receive goes on after a part. It ends with its last byte, the
    // end of the stream (nothing got), an error or a cancel.
    [[nodiscard]] static bool goes_on(const Operation& op, std::size_t got) noexcept {
        return op.waits_for_all && got != 0 && op.remaining() != 0;
    }

    [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }
    [[nodiscard]] std::size_t unreleased() const noexcept { return unreleased_; }
    [[nodiscard]] std::uint64_t bytes_to_send() const noexcept { return bytes_to_send_; }

private:
    [[nodiscard]] static unsigned run_length(const Lane& lane) noexcept;
    StartResult start(Operation& op, unsigned count) noexcept;
    void ask_later(Socket& socket, Lane& lane) noexcept;
    void progress(Socket& socket, Lane& lane, const StartResult& result);
    void progress_send(Socket& socket, Lane& lane, std::size_t bytes);
    void fail(Socket& socket, Lane& lane, int code);
    void refuse_rest(Lane& lane, Error error) noexcept;
    void end_connect(Lane& lane, Operation& op, Error error, bool answered) noexcept;
    void end(Operation& op) noexcept;
    void request_cancel(Lane& lane, Operation& op) noexcept {
        lane.note_cancel(op);
        metrics_.enter(op, State::cancelling);
    }
    [[nodiscard]] static Error cancel_error(const Operation& op) noexcept;
    static void disconnected(const Operation& op) noexcept;

    Backend& backend_;
    Calls& calls_;
    Sockets& sockets_;
    Admission& admission_;
    SendFlow& flow_;
    CompletionQueue& completions_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    SlotTable<Operation>& operations_;
    std::size_t outstanding_{0};      // accepted operations that are not retired
    std::size_t unreleased_{0};       // sends that wait only for their release
    std::uint64_t bytes_to_send_{0};  // still to send, over all unfinished sends
};

}  // namespace iocp
