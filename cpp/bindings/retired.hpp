#pragma once

#include <utility>

#include "core/port.hpp"

namespace iocp::py {

// The operations and sockets of the core that were handed out for the last time. Their slots are
// given back, with the port's lock held, before anything else happens to their sockets. The lists
// link the operations and sockets themselves, so that they need no memory.
class Retired {
public:
    void add(Operation& op) noexcept { op.next_finished = std::exchange(operations_, &op); }
    void add(Socket& socket) noexcept { socket.next_closed = std::exchange(sockets_, &socket); }
    [[nodiscard]] bool empty() const noexcept {
        return operations_ == nullptr && sockets_ == nullptr;
    }
    // Gives the slots of the added operations and sockets back to the port. Precondition: the
    // caller holds the port's lock.
    void give_back(Port& port) noexcept {
        while (operations_ != nullptr) {
            port.operations().retire(*std::exchange(operations_, operations_->next_finished));
        }
        while (sockets_ != nullptr) {
            port.sockets().retire(*std::exchange(sockets_, sockets_->next_closed));
        }
    }

private:
    Operation* operations_{nullptr};
    Socket* sockets_{nullptr};
};

}  // namespace iocp::py
