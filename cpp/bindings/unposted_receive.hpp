#pragma once

#include <optional>

#include "bindings/objects.hpp"

namespace iocp::py {

// A receive buffer of 0, and a strategy that leaves no receive posted: what arrives has nowhere to
// go until somebody asks for it (R13). Each of these warns; false: the warning was made an
// exception, and nothing has changed yet.

// Precondition: the option of the socket is about to be set to `value`.
bool warn_before_option(SocketObject& socket, int level, int option, int value);
// The same, of the strategy of a standing receive; without one it is adaptive.
bool warn_before_strategy(SocketObject& socket, const std::optional<Receive>& strategy);

// Remembers how the system reads a receive buffer of 0 back. Precondition: the option was set.
void note_option(SocketObject& socket, int level, int option, int value);

}  // namespace iocp::py
