#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/counts.hpp"
#include "core/latencies.hpp"
#include "core/tally.hpp"
#include "ops/buffer.hpp"
#include "ops/socket.hpp"

namespace iocp {

// The account of locked memory in bytes, for display (R09).
struct LedgerView {
    std::uint64_t now{0}, peak{0}, budget{0}, internal{0}, kernel_locked{0}, registered{0};
    std::uint64_t receive{0}, send{0};
    std::uint64_t queued{0}, pending{0}, cancelling{0};
};

// The figures of one socket.
struct SocketFigures {
    SlotId id;
    Handle handle{no_handle};
    std::int16_t family{0};
    std::uint8_t type{0};
    SocketState state{SocketState::free};
    std::uint64_t charged{0};       // bytes
    std::uint64_t queued_bytes{0};  // of sends, still to go
    std::uint32_t outstanding{0};
    std::uint32_t receives{0};  // unfinished, in this direction's lane
    std::uint32_t sends{0};
    std::optional<OperationKind> subscription;
    ReceiveStrategy strategy{ReceiveStrategy::pooled};  // of a subscription that receives
    bool adaptive{false};                               // its strategy follows the traffic
    SendStrategy sending{SendStrategy::buffered};
    bool send_paused{false};
};

// All figures of a port, taken under one hold of its lock.
struct Figures {
    LedgerView ledger;
    PortCounts counts;
    Tally tally;
    BufferPool::Occupancy pool;
    std::size_t slots{0};
    std::size_t slots_free{0};
    std::size_t sockets{0};
    std::size_t outstanding{0};
    std::size_t budget_queue{0};                   // operations held back by the budget
    std::uint64_t send_queue_bytes{0};             // of unfinished sends, still to go
    std::size_t ready{0};                          // results that wait for the next turn
    std::unique_ptr<Latencies::ByKind> latencies;  // null: not kept
    std::vector<SocketFigures> by_socket;
};

// Keeps at most `maximum` sockets, those with the largest charge, in descending order. More queued
// bytes decide between equal charges.
void keep_heaviest(std::vector<SocketFigures>& sockets, std::size_t maximum);

}  // namespace iocp
