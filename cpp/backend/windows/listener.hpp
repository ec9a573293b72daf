#pragma once

#include <vector>

#include "backend/address.hpp"
#include "backend/windows/request.hpp"
#include "core/slot_table.hpp"

namespace iocp {

// A connection that AcceptEx made, or the error of one.
struct Arrival {
    Handle handle{no_handle};
    int code{0};
    Address peer{};  // of length 0: the connection was over before it could be asked
};

// The accepts that stand posted for one listening socket, and what came of them. They are the
// listener's, not an operation's: an operation only takes what has arrived.
struct Listener {
    SlotId socket;
    SOCKET handle{INVALID_SOCKET};
    int family{0};
    int type{0};
    int protocol{0};
    unsigned wanted{1};            // accepts to keep posted
    unsigned posted{0};            // in the kernel now
    Request* first{nullptr};       // those, linked by `next`
    std::vector<Arrival> arrived;  // with room for those that are posted
    SlotId waiting;                // the operation to tell of the next arrival
    bool is_awaited{false};
    bool closed{false};  // only the packets are still to come
};

}  // namespace iocp
