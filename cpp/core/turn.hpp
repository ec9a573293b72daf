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
    // the lock during the wait only. Its records are in the completion queue, whatever it returns.
    Error run(std::unique_lock<std::mutex>& lock, std::int64_t deadline);
    // Makes one turn that does not wait, and keeps the lock throughout.
    Error run_now();

    // Applies the effects of a step, in the order of effects.hpp. Every step ends with it. Without
    // memory for an effect, the next turn applies it and those behind it.
    void work_off() noexcept;
    // Ends a call of the application: applies its effects, and, if the call `changed` something,
    // wakes the thread that sleeps in the backend.
    void conclude(bool changed = true) noexcept;
    // Ends the wait that is under way, or the next one.
    void wake() noexcept {
        woken_ = true;
        conclude();
    }

    // Ends every request, for a port at its end whose backend holds none of them any more.
    void lose_requests();

private:
    void apply(Socket& socket, Effects effect);
    void start_receiving(Socket& socket);
    void free_address(Socket& socket);

    // The requests of an ended thread.
    [[nodiscard]] Error claim();
    void mark_lost() noexcept;
    [[nodiscard]] bool restart_requests();
    [[nodiscard]] bool end_lost(const Lane& lane);

    // The steps of a turn.
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
    bool completing_{false};       // complete_packets() is under way, and will drop them
    bool sleeping_{false};         // a thread waits in the backend, or is about to
    bool woken_{false};            // the next wait must not last
    // Lanes are marked `lost`, or releases are owed by the ring of an ended thread. No packet of
    // the new ring is taken before both are done.
    bool restarts_{false};
};

}  // namespace iocp
