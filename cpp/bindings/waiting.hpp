#pragma once

#include <cstdint>

#include "bindings/types.hpp"
#include "run/awaited.hpp"

namespace iocp::py {

enum class Waited : std::uint8_t { met, timed_out, routines_ran, failed };

// Waits up to `timeout` nanoseconds (negative: no limit; 0: checks once). Meanwhile makes the turns
// that can end the wait or make a routine due, unless another thread makes them. `alertable`: this
// thread's completion routines run. Failed: an exception is set, perhaps by a signal handler or a
// callback.
Waited wait_for(const Types& types, run::Awaited& awaited, bool alertable, std::int64_t timeout);

}  // namespace iocp::py
