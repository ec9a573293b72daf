#pragma once

#include <optional>

#include "bindings/socket_object.hpp"

namespace iocp::py {

// UnpostedReceiveWarning (R13) is issued for a receive buffer of 0 beside a strategy that leaves no
// receive posted, so that data waits at the peer until a receive is posted. warn_before_option()
// and warn_before_strategy() return false if a filter has turned the warning into an exception. The
// caller must then change nothing.

// Called before an option is set. Issues the warning if `value` makes the receive buffer 0 while a
// receive() runs whose strategy leaves no receive posted.
bool warn_before_option(SocketObject& socket, int level, int option, int value);
// Called before a receive() begins or changes its strategy. Issues the warning if the receive
// buffer is 0 and `strategy` leaves no receive posted. std::nullopt stands for adaptive.
bool warn_before_strategy(SocketObject& socket, const std::optional<ReceiveStrategy>& strategy);

// Called after an option was set. If that set the receive buffer to 0, remembers the size that the
// system reports for a buffer of 0, by which warn_before_strategy() finds one.
void note_option(SocketObject& socket, int level, int option, int value);

}  // namespace iocp::py
