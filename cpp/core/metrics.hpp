#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "backend/backend.hpp"
#include "core/counts.hpp"
#include "core/latencies.hpp"
#include "core/tally.hpp"
#include "core/trace.hpp"
#include "ops/ledger.hpp"
#include "ops/operation.hpp"

namespace iocp {

// Counts and records what happens to a port's operations (R09). Only this class writes the state of
// an operation, so that every change is counted.
class Metrics {
public:
    Metrics(const Clock& clock, const Ledger& ledger, bool latencies)
        : clock_(&clock),
          ledger_(ledger),
          latencies_(latencies ? std::make_unique<Latencies>() : nullptr),
          observed_(latencies) {}

    PortCounts counts;  // each part counts its own work

    // Writes the state of an operation; no other function may. The store has release order. So a
    // thread that sees the new state with acquire order may read the result without the lock.
    void enter(Operation& op, State state) noexcept {
        const State before = op.state.load(std::memory_order_relaxed);
        if (state == before) {
            return;
        }
        tally_.move(op.kind, before, state, op.receipt.pages());
        op.state.store(state, std::memory_order_release);
        note(op, stage_of(state));
    }
    // Counts the charge that the operation has just got.
    void charged(const Operation& op) noexcept {
        const State state = op.state.load(std::memory_order_relaxed);
        tally_.charge(state, op.receipt.pages());
        if (state != State::idle) {
            note(op, Stage::charged);
        }
    }
    // Refunds the operation's charge.
    void refund(Operation& op) noexcept {
        tally_.refund(op.state.load(std::memory_order_relaxed), op.receipt.pages());
        op.receipt.refund();
        note(op, Stage::refunded);
    }
    // Notes the time of the post, if latencies are kept. Throws std::bad_alloc.
    void created(const Operation& op) {
        if (latencies_ != nullptr) {
            latencies_->posted(op, clock_->now());
        }
    }
    // Notes that the operation's completion is handed out. Called only while observed() is true.
    void handed_out(const Operation& op) noexcept {
        if (latencies_ != nullptr && clock_ != nullptr) {
            latencies_->handed_out(op, clock_->now());
        }
        note(op, Stage::dispatched);
    }
    void note(const Operation& op, Stage stage) noexcept { note(op, stage, op.transferred); }
    void note(const Operation& op, Stage stage, std::uint64_t bytes) noexcept {
        if (trace_ != nullptr) [[unlikely]] {
            record(op, stage, bytes);
        }
    }

    // Returns whether handed_out() has anything to record. Needs no lock.
    [[nodiscard]] bool observed() const noexcept {
        return observed_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] bool tracing() const noexcept { return trace_ != nullptr; }
    // Replaces the trace by the given one, or by none, and returns the old one.
    [[nodiscard]] std::unique_ptr<Trace> exchange_trace(std::unique_ptr<Trace> trace) noexcept;
    [[nodiscard]] const Tally& tally() const noexcept { return tally_; }
    // Returns the latencies, or null if they are not kept.
    [[nodiscard]] const Latencies* latencies() const noexcept { return latencies_.get(); }
    // Stops the clock before the backend is destroyed; later events have no time and are not
    // recorded.
    void stop_clock() noexcept { clock_ = nullptr; }

private:
    void record(const Operation& op, Stage stage, std::uint64_t bytes) noexcept;

    const Clock* clock_;  // null once the port has released its backend
    const Ledger& ledger_;
    Tally tally_;  // matches the states and charges of all operations between steps
    std::unique_ptr<Latencies> latencies_;
    std::unique_ptr<Trace> trace_;
    std::atomic<bool> observed_;  // latencies are kept or a trace exists
};

}  // namespace iocp
