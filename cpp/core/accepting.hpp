#pragma once

#include <cstddef>
#include <vector>

#include "core/cancels.hpp"
#include "core/port_options.hpp"
#include "core/sockets.hpp"
#include "core/standing.hpp"

namespace iocp {

// The subscriptions of listeners: each accepts every connection that arrives, up to the port's cap
// on connections (R32).
class Accepting {
public:
    Accepting(const PortOptions& options, const SystemErrors& errors, Sockets& sockets,
              Cancels& cancels, Standing& standing, CompletionQueue& completions,
              SlotTable<Operation>& operations)
        : options_(options),
          errors_(errors),
          sockets_(sockets),
          cancels_(cancels),
          standing_(standing),
          completions_(completions),
          operations_(operations) {}

    // Accepts the connections that wait, at most accepts_per_turn, and then waits for more.
    void start(Socket& listener, Operation& op);
    // Handles the packet of the subscription's accept request.
    void complete(Socket& listener, Operation& op, const Packet& packet) noexcept;
    // Takes a closed socket out of the count of connections, so that listeners at the cap accept
    // again.
    void closed(Socket& socket) noexcept;

private:
    [[nodiscard]] bool at_cap(Operation& op) noexcept;
    [[nodiscard]] StartResult ask(Operation& op) noexcept;

    const PortOptions& options_;
    const SystemErrors& errors_;
    Sockets& sockets_;
    Cancels& cancels_;
    Standing& standing_;
    CompletionQueue& completions_;
    SlotTable<Operation>& operations_;
    Message peer_;                // gets the address of the connection that is accepted
    std::size_t connections_{0};  // open connections that count against the cap
    std::vector<SlotId> capped_;  // subscriptions that are `paused` because the cap is reached
};

}  // namespace iocp
