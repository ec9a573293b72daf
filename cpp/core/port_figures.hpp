#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "backend/backend.hpp"
#include "core/figures.hpp"
#include "core/parts.hpp"

namespace iocp {

// Reads the figures, the counts and the trace of a port (R09), and replaces the trace. Every member
// needs the port's lock.
class PortFigures {
public:
    PortFigures(Parts& parts, const BufferPool& pool, const MemoryBackend& backend) noexcept
        : parts_(parts), pool_(pool), backend_(&backend) {}
    PortFigures(const PortFigures&) = delete;
    PortFigures& operator=(const PortFigures&) = delete;

    // Returns the account of locked memory.
    [[nodiscard]] LedgerView ledger();
    // Fills `out`. Lists every open socket, or none if `max_sockets` is 0; the caller then keeps
    // the heaviest (keep_heaviest()).
    Error take(std::size_t max_sockets, Figures& out);
    // Returns the number of turns, modulo 2^32, so that a caller can tell whether one was made
    // since.
    [[nodiscard]] std::uint32_t turn_number() const noexcept {
        return parts_.subscriptions.turn_number();
    }
    [[nodiscard]] const PortCounts& counts() const noexcept { return parts_.metrics.counts; }

    // Replaces the trace by the given one, or by none, and returns the old one.
    [[nodiscard]] std::unique_ptr<Trace> exchange_trace(std::unique_ptr<Trace> trace) noexcept {
        return parts_.metrics.exchange_trace(std::move(trace));
    }
    [[nodiscard]] bool tracing() const noexcept { return parts_.metrics.tracing(); }

    // Forgets the backend, which is about to be destroyed. The memory that it locked is not shown
    // any more.
    void release_backend() noexcept { backend_ = nullptr; }

private:
    [[nodiscard]] SocketFigures figures_of(const Socket& socket) const noexcept;

    Parts& parts_;
    const BufferPool& pool_;
    const MemoryBackend* backend_;  // null once the port has released it
};

}  // namespace iocp
