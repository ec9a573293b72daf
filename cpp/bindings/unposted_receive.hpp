#pragma once

#include <optional>

#include "bindings/socket_object.hpp"

namespace iocp::py {

// UnpostedReceiveWarning (R13): a receive buffer of 0 beside a strategy that leaves no receive
// posted, so that data waits at the peer until a receive is posted. The functions return false if a
// filter has turned the warning into an exception; the caller must then change nothing.

// Warns, if necessary, before an option of the socket is set to `value`.
bool warn_before_option(SocketObject& socket, int level, int option, int value);
// Warns, if necessary, before a receiving subscription gets its strategy; no value means adaptive.
bool warn_before_strategy(SocketObject& socket, const std::optional<ReceiveStrategy>& strategy);

// Called after an option was set. If that set the receive buffer to 0, remembers the size that the
// system reports for it.
void note_option(SocketObject& socket, int level, int option, int value);

}  // namespace iocp::py
