#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "backend/backend.hpp"
#include "ops/socket.hpp"

namespace iocp {

// The rule by which an adaptive subscription changes its strategy (R13).
struct AdaptiveRule {
    // A subscription is busy after this many messages in a row, each within `window` nanoseconds of
    // the one before.
    std::uint32_t messages{4};
    std::int64_t window{100'000'000};
    // A busy subscription is quiet after this many nanoseconds without a message.
    std::int64_t idle{1'000'000'000};
    // If at least this percentage of the budget is in use, no adaptive subscription posts a buffer.
    std::uint32_t budget_percent{75};
    // The strategy of busy subscriptions; by default the backend's best.
    std::optional<ReceiveStrategy> busy;
};

// The outcome of a post over the budget or a cap (R07).
enum class OverBudget : std::uint8_t { raise, queue, degrade };

// The maximum numbers of unfinished operations and of open connections; 0 means no limit.
struct Caps {
    std::uint32_t port_receives{0};
    std::uint32_t port_sends{0};
    std::uint32_t socket_receives{0};  // of each socket
    std::uint32_t socket_sends{0};
    std::uint32_t max_connections{0};  // open connections that subscriptions accepted
};

// The maximum that a subscription reads from one socket in one turn (R12).
struct DrainLimits {
    std::uint32_t reads{8};
    std::size_t bytes{std::size_t{256} << 10U};
};

// The settings that new sockets start with. The application may change them for each socket.
struct SocketDefaults {
    bool skip_done{false};  // operations that complete in their post queue no completion
    bool nodelay{false};    // TCP sockets start without Nagle's algorithm
    SendMarks marks;
};

// The application's choices for a port. They stay constant while the port lives.
struct PortOptions {
    std::size_t budget_bytes{0};  // locked bytes; 0: no limit
    OverBudget over_budget{OverBudget::raise};
    Caps caps;
    std::size_t region_size{std::size_t{256} << 10U};
    std::size_t region_limit{256};  // lent regions from which on messages are copied
    BackendOptions backend;
    DrainLimits drain;
    SocketDefaults defaults;
    // How long a close waits for queued sends that make no progress, in nanoseconds.
    std::int64_t close_timeout{5'000'000'000};
    // After this time in the budget queue, in nanoseconds, a receive waits without its buffer, and
    // the core reclaims pages for a send.
    std::int64_t queue_patience{1'000'000'000};
    std::int64_t idle_timeout{0};  // for accepted connections, nanoseconds; 0: none
    AdaptiveRule adaptive;
    bool latency{false};  // record how long operations take
    // The maximum of threads that may handle completions at the same time. 0: one thread runs the
    // port.
    unsigned concurrency{0};
    bool in_order{false};  // hand out each socket's completions one after the other
};

}  // namespace iocp
