#pragma once

#include <vector>

#include "backend/windows/request.hpp"
#include "base/address.hpp"
#include "base/slot_table.hpp"

namespace iocp {

// A connection that AcceptEx made, or the error of a failed one.
struct Arrival {
    Handle handle{no_handle};
    int code{0};
    Address peer{};  // length 0: the connection ended before its peer was asked for
};

// The posted accepts of one listening socket, and their results. They belong to the listener, not
// to an operation: an operation only takes a connection that has arrived.
struct Listener {
    SlotId socket;
    SOCKET handle{INVALID_SOCKET};
    int family{0};
    int type{0};
    int protocol{0};
    unsigned wanted{1};            // accepts to keep posted
    unsigned posted{0};            // accepts in the kernel now
    Request* first{nullptr};       // the posted accepts, linked by `next`
    std::vector<Arrival> arrived;  // with room for all posted accepts
    SlotId waiting;                // the operation to notify of the next arrival
    bool is_awaited{false};
    bool closed{false};  // the socket is closed, and only packets of accepts are still to come
};

}  // namespace iocp
