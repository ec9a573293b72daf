#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "core/calls.hpp"
#include "core/effects.hpp"
#include "core/metrics.hpp"
#include "core/port_options.hpp"
#include "core/registered_memory.hpp"
#include "core/timers.hpp"
#include "ops/ledger.hpp"

namespace iocp {

// Decides which operations reach the kernel and which wait: the budget of locked memory, the caps,
// and the system's own refusals (R06, R07, R08).
class Admission {
public:
    Admission(const PortOptions& options, Ledger& ledger, const RegisteredMemory& registered,
              const SystemErrors& errors, Calls& calls, Timers& timers, Metrics& metrics,
              Worklist& work, SlotTable<Operation>& operations)
        : options_(options),
          ledger_(ledger),
          registered_(registered),
          errors_(errors),
          calls_(calls),
          timers_(timers),
          metrics_(metrics),
          work_(work),
          operations_(operations) {}

    // Makes room to count the sockets of slots below `slots`. Throws std::bad_alloc.
    void make_room(std::size_t slots) {
        if (caps_sockets() && admitted_.size() < slots) {
            admitted_.resize(slots);
        }
    }

    // Returns the pages that the kernel may lock for the rest of the operation.
    [[nodiscard]] std::size_t pages_of(const Operation& op) const noexcept;
    // Returns whether the operation alone fits the budget.
    [[nodiscard]] bool could_fit(const Operation& op) const noexcept {
        return ledger_.could_fit(pages_of(op));
    }
    // Admits the operation, holds it in the budget queue, or refuses it. `others` says that
    // operations are outstanding whose end may make room.
    Error charge(Operation& op, bool others);
    // Admits an operation for the buffer that it is about to post. Fails if an operation is held,
    // or if there is no room.
    [[nodiscard]] bool charge_block(Operation& op) noexcept;
    // Refunds the charge and takes the operation out of the caps. Undoes charge().
    void leave(Operation& op) noexcept;
    // Takes out a finished operation as leave() does. Starved operations are then tried again,
    // because it has freed room.
    void end(Operation& op) noexcept {
        leave(op);
        feeds_ = !starved_.empty();
    }
    // Takes the operation out of the budget queue without admitting it.
    void unhold(Operation& op) noexcept {
        if (op.held) {
            op.held = false;
            --held_operations_;
        }
    }
    // Lets a receive that was asked to yield wait without memory. Its request must be over.
    void yield(Operation& op) noexcept;

    // Admits the first operation of the budget queue and returns it; the caller starts it. Null if
    // it does not fit yet, or none is held.
    [[nodiscard]] Operation* admit_next() noexcept;
    // Lets receives that have been in the budget queue for the whole queue patience wait without
    // their buffers. Returns the latest time at which they were put there.
    std::int64_t lose_patience() noexcept;
    // Reclaims pages of receives in the kernel for the first operation of the budget queue, if it
    // was put there at `due` or earlier. Precondition: admit_next() has returned null since
    // lose_patience().
    void reclaim_late(std::int64_t due) noexcept;

    // Returns whether the core waits out this refusal of the system.
    [[nodiscard]] bool waits_for_resources(int code, std::size_t outstanding) const noexcept;
    // Starts the operation again after the next completion, or after a pause. Returns false if
    // there is no memory to remember it.
    [[nodiscard]] bool starve(Operation& op) noexcept;
    // Returns whether an operation has ended since the starved ones were tried.
    [[nodiscard]] bool feeds() const noexcept { return feeds_; }
    void feed_starved() noexcept;

    // Returns whether the budget is so full that no subscription should post a buffer.
    [[nodiscard]] bool tight() const noexcept;
    // Returns the number of operations in the budget queue.
    [[nodiscard]] std::size_t held() const noexcept { return held_operations_; }

private:
    // A post in the budget queue, and since when it waits.
    struct Held {
        SlotId id;
        std::int64_t since;
    };

    [[nodiscard]] bool capped(const Operation& op) const noexcept;
    [[nodiscard]] bool caps_sockets() const noexcept {
        return (options_.caps.socket_receives | options_.caps.socket_sends) != 0;
    }
    [[nodiscard]] bool admissible(const Operation& op, std::size_t pages) const noexcept;
    void admit(Operation& op, std::size_t pages) noexcept;
    void refund(Operation& op) noexcept;
    Error hold(Operation& op) noexcept;
    void reclaim(std::size_t pages) noexcept;
    [[nodiscard]] Operation* held_operation(SlotId id) noexcept;

    const PortOptions& options_;
    Ledger& ledger_;
    const RegisteredMemory& registered_;
    const SystemErrors& errors_;
    Calls& calls_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    SlotTable<Operation>& operations_;
    std::deque<Held> held_;           // in posting order; some have ended or wait elsewhere
    std::size_t held_operations_{0};  // the operations of held_ that are still `held`
    Timer* patience_{nullptr};        // armed while an operation is held
    std::vector<SlotId> starved_;     // refused by the system, and `paused`
    Timer* starvation_{nullptr};      // armed while an operation is starved
    bool feeds_{false};               // an operation has ended since the starved were tried
    std::array<std::uint32_t, charge_kinds> unfinished_{};  // admitted operations of the port
    // Admitted operations of each socket, by slot; empty without a cap on sockets.
    std::vector<std::array<std::uint32_t, charge_kinds>> admitted_;
};

}  // namespace iocp
