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

    // Makes room for the counts of each socket in the slots below `slots`. Throws std::bad_alloc.
    void make_room(std::size_t slots) {
        if (caps_sockets() && admitted_.size() < slots) {
            admitted_.resize(slots);
        }
    }

    // Returns the pages that the kernel may lock for what is left of the operation.
    [[nodiscard]] std::size_t pages_of(const Operation& op) const noexcept;
    // Returns whether the operation would fit the budget if no other were outstanding.
    [[nodiscard]] bool could_fit(const Operation& op) const noexcept {
        return ledger_.could_fit(pages_of(op));
    }
    // Admits the operation, holds it in the budget queue, or refuses it. `others` says whether
    // other operations are outstanding, whose end may make room.
    Error charge(Operation& op, bool others);
    // Charges a subscription for the buffer that it is about to post. Returns false if there is no
    // room, or if an operation waits in the budget queue. An adaptive subscription gets no charge
    // while tight() is true.
    [[nodiscard]] bool charge_block(Operation& op) noexcept;
    // Undoes charge(): refunds the pages, and no longer counts the operation against the caps.
    void leave(Operation& op) noexcept;
    // Does leave() for a finished operation. Operations that the system refused are then tried
    // again, because the finished one may have freed a resource.
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
    // Refunds a receive that was asked to give its pages back, and lets it wait without memory.
    // Precondition: the kernel has no request of the receive.
    void yield(Operation& op) noexcept;

    // Admits the first operation of the budget queue and returns it; the caller starts it. Returns
    // null if the first one does not fit yet, or if the queue is empty.
    [[nodiscard]] Operation* admit_next() noexcept;
    // Takes receives that have waited for the whole queue patience out of the budget queue, and
    // lets them wait without their buffers. Returns the time of the queue patience ago: an
    // operation queued by then has waited too long.
    std::int64_t lose_patience() noexcept;
    // Reclaims pages of pending receives for the first operation of the budget queue, if it was
    // queued at `due` or earlier. Precondition: after lose_patience(), admit_next() was called
    // until it returned null.
    void reclaim_late(std::int64_t due) noexcept;

    // Returns whether an operation that the system refused with `code` should be tried again later,
    // because another operation may free the lacking resource.
    [[nodiscard]] bool waits_for_resources(int code, std::size_t outstanding) const noexcept;
    // Pauses the operation. The core starts it again after the next completion, or after a while.
    // Returns false without memory to remember the operation.
    [[nodiscard]] bool starve(Operation& op) noexcept;
    // Returns whether an operation has ended since those that the system refused were last tried.
    [[nodiscard]] bool feeds() const noexcept { return feeds_; }
    void feed_starved() noexcept;

    // Returns whether the budget is so full that no adaptive subscription should post a buffer.
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
    std::deque<Held> held_;           // in posting order; some of them no longer wait
    std::size_t held_operations_{0};  // the number of operations in held_ that still wait
    Timer* patience_{nullptr};        // armed while an operation is held
    std::vector<SlotId> starved_;     // operations that the system refused, which are `paused`
    Timer* starvation_{nullptr};      // armed while an operation is starved
    bool feeds_{false};               // an operation has ended since starved_ was last tried
    std::array<std::uint32_t, charge_kinds> unfinished_{};  // admitted operations of the port
    // Admitted operations of each socket, by slot; empty without a cap on sockets.
    std::vector<std::array<std::uint32_t, charge_kinds>> admitted_;
};

}  // namespace iocp
