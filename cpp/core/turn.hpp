#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "backend/backend.hpp"
#include "core/parts.hpp"

namespace iocp {

// The turns of a port: starts what waits, sleeps in the backend, completes the packets, and applies
// the effects of every step (effects.hpp). It calls the parts in one order and the parts never call
// back, so that no step runs inside another.
//
// Every member needs the port's lock. At most one thread is in run().
class Turn {
public:
    Turn(Parts& parts, Backend& backend) noexcept : parts_(parts), backend_(backend) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // Makes one turn, which waits until `deadline` (negative: for ever) if nothing is ready. Drops
    // the lock during the wait only. The records of the turn are in the completion queue, even if
    // it returns an error.
    Error run(std::unique_lock<std::mutex>& lock, std::int64_t deadline);
    // Makes one turn that does not wait, and keeps the lock throughout.
    Error run_now();

    // Applies the effects that a step has left, in the order of effects.hpp. Every step ends with a
    // call of work_off(). Without memory for an effect, that effect and those behind it are applied
    // in the next turn.
    void work_off() noexcept;
    // Ends a call of the application: applies its effects, and, if the call `changed` something,
    // wakes the thread that sleeps in the backend.
    void conclude(bool changed = true) noexcept;
    // Ends the wait in the backend that is under way, or the next one.
    void wake() noexcept {
        woken_ = true;
        conclude();
    }

    // Ends every request, when the port ends and its backend no longer holds any request.
    void lose_requests();

private:
    void apply(Socket& socket, Effects effect);
    void start_receiving(Socket& socket);
    void free_address(Socket& socket);

    // Handle the requests of an ended thread.
    [[nodiscard]] Error claim();
    void mark_lost() noexcept;
    [[nodiscard]] bool restart_requests();
    [[nodiscard]] bool end_lost(const Lane& lane);

    // The stages of a turn and their helpers. A stage makes any number of steps.
    [[nodiscard]] bool begin(Error& error);
    void publish();
    [[nodiscard]] Error end();
    [[nodiscard]] std::int64_t wait_time(std::int64_t deadline) const noexcept;
    void fire_timers();
    void fire(const Timer& timer);
    void admit_held();
    void flush_sends();
    void go_on_with_subscriptions();
    void reap();
    void complete_packets();
    [[nodiscard]] bool complete_one();
    void drop_completed() noexcept;
    void complete(Packet& packet);
    void drop_late(const Packet& packet);
    void remind();

    Parts& parts_;
    Backend& backend_;             // not used any more once the port has released it
    std::vector<Packet> packets_;  // taken from the backend, in order
    std::size_t completed_{0};     // packets at the front that are completed
    bool completing_{false};       // complete_packets() runs, and will drop the completed packets
    bool sleeping_{false};         // a thread waits in the backend, or is about to
    bool woken_{false};            // wake() was called: the next wait returns at once
    // Lanes that are marked `lost`, or releases that an ended thread's ring owes, are still to be
    // handled. No packet of the new ring is taken before that.
    bool restarts_{false};
};

}  // namespace iocp
