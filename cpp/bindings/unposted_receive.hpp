#pragma once

#include <optional>

#include "bindings/socket_object.hpp"

namespace iocp::py {

// Warnings about a receive buffer of 0 beside a strategy that leaves no receive posted: data then
// waits at the peer until a receive is posted (R13). The functions return false if a filter has
// turned the warning into an exception; the caller must then change nothing.

// Warns before the option of the socket is set to `value`.
bool warn_before_option(SocketObject& socket, int level, int option, int value);
// Warns before a receiving subscription gets its strategy; no value means adaptive.
bool warn_before_strategy(SocketObject& socket, const std::optional<ReceiveStrategy>& strategy);

// Remembers the size that the system reports for a receive buffer of 0. Precondition: the option
// was set.
void note_option(SocketObject& socket, int level, int option, int value);

}  // namespace iocp::py
