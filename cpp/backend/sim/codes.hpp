#pragma once

#include "ops/operation.hpp"

namespace iocp::sim {

// The platform's numbers of the errors that the model reports.
extern const int code_bad_handle;
extern const int code_invalid;
extern const int code_not_connected;
extern const int code_already_connected;
extern const int code_broken;  // a send after the sending side was shut down
extern const int code_reset;
extern const int code_refused;
extern const int code_timed_out;
extern const int code_no_buffers;
extern const int code_in_use;
extern const int code_not_here;  // an address or family that the model lacks
extern const int code_no_option;
extern const int code_cancelled;

// The MSG_* flags that sends and receives of a modelled stream take.
extern const int flags_of_sends;
extern const int flags_of_receives;

// Returns whether the operation's error ends its socket (R05, R08), as on this platform's own
// backends.
bool code_is_fatal(const Operation& op, int code) noexcept;

}  // namespace iocp::sim
