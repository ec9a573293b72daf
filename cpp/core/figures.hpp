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
    std::uint64_t queued_bytes{0};  // bytes still to send
    std::uint32_t outstanding{0};
    std::uint32_t receives{0};  // unfinished operations that receive
    std::uint32_t sends{0};
    std::optional<OperationKind> subscription;
    ReceiveStrategy strategy{ReceiveStrategy::pooled};  // of a receiving subscription
    bool adaptive{false};                               // the subscription changes its strategy
    SendStrategy sending{SendStrategy::buffered};
    bool send_paused{false};
};

// All figures of a port, taken together under its lock.
struct Figures {
    LedgerView ledger;
    PortCounts counts;
    Tally tally;
    BufferPool::Occupancy pool;
    std::size_t slots{0};
    std::size_t slots_free{0};
    std::size_t sockets{0};
    std::size_t outstanding{0};
    std::size_t budget_queue{0};                   // operations in the budget queue
    std::uint64_t send_queue_bytes{0};             // bytes still to send, over all sockets
    std::size_t ready{0};                          // records that wait to be handed out
    std::unique_ptr<Latencies::ByKind> latencies;  // null if latencies are not kept
    std::vector<SocketFigures> by_socket;
};

// Keeps at most `maximum` sockets, those with the largest charge, in descending order. More queued
// bytes decide between equal charges.
void keep_heaviest(std::vector<SocketFigures>& sockets, std::size_t maximum);

}  // namespace iocp
