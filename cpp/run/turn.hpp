#pragma once

#include <cstdint>

#include "run/runnable_port.hpp"

namespace iocp::run {

// Makes one turn of a port that the calling thread runs, and takes its records into the port's
// inbox. Waits at most until `deadline` (negative: for ever), and returns earlier for the program's
// signals. Makes no turn while earlier records are in the inbox.
Error turn(Host& host, RunnablePort& port, std::int64_t deadline);

// Makes the same turn without a wait. The thread detaches only to wait for the port's lock, while
// another thread holds it.
Error turn_at_once(Host& host, RunnablePort& port);

// Makes one turn for a thread that waits for a result. The records of the turn stay in the core,
// for the thread that runs the port. Waits at most `nanoseconds` (negative: for ever), and returns
// earlier for the program's signals. At a shared port, `seen` is the number of turns when the
// caller last checked what it waits for.
Error collect(Host& host, RunnablePort& port, std::int64_t nanoseconds, std::uint64_t seen = 0);

}  // namespace iocp::run
