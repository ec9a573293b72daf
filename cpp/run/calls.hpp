#pragma once

#include <cstddef>
#include <cstdint>

#include "run/runnable_port.hpp"

namespace iocp::run {

// The calls that run a port, made for one thread or for several. Timeouts are in nanoseconds; a
// negative timeout means no limit. A timeout begins with the call, even if the thread first has to
// take the port over. Every call throws what a hook of its Host throws.

// The result of a call that runs a port.
struct Ran {
    std::size_t count{0};  // completions that were handed out
    Error error{};         // of a turn, or port_is_closed
    bool refused{false};   // another thread, or an outer call of this thread, runs the port
};

// The number of completions that a get() has gathered. The dispatch() of that call's host counts
// them, and stops at the maximum.
struct Taken {
    std::size_t maximum{1};
    std::size_t count{0};

    [[nodiscard]] bool none() const noexcept { return count == 0; }
    [[nodiscard]] bool full() const noexcept { return count >= maximum; }
};

// Runs the port until it is stopped or closed, or, with `until_idle`, nothing is outstanding.
Ran run(Host& host, RunnablePort& port, bool until_idle);
// Waits until a record is ready, and hands out all ready records.
Ran run_once(Host& host, RunnablePort& port, std::int64_t timeout);
// Makes one turn and leaves its records in the port's inbox, for hand_out(). Makes no turn while
// records are in the inbox already. `count` is the number of records, plus 1 if there are notified
// completions. With a timeout of 0 the thread stays attached, because detaching would cost more
// than the turn. The caller may stay the port's runner from before the turn to after the hand-out,
// so that no other thread hands the records out. Precondition: the port is for one thread.
Ran make_turn(Host& host, RunnablePort& port, std::int64_t timeout);
// Hands out the records of make_turn(). Precondition: the port is for one thread.
Ran hand_out(Host& host, RunnablePort& port);
// Waits for the first completion that goes to the caller of get(), and gathers those that are ready
// by then.
Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken);
// Closes every socket, and runs the port until it is closed. A socket's queued sends may go on
// until they make no progress for `timeout`. If another thread or an outer call runs the port, that
// one closes it.
Ran close(Host& host, RunnablePort& port, std::int64_t timeout);
// Ends every run() that is under way. If there is none, ends the next one.
void stop(Host& host, RunnablePort& port);
// Hands out the ready records without waiting, if this thread may run the port.
Error turn_now(Host& host, RunnablePort& port);

// The calls that run a shared port.
namespace shared {
Ran run(Host& host, RunnablePort& port, bool until_idle);
Ran run_once(Host& host, RunnablePort& port, std::int64_t timeout);
Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken);
// Helps to close the port. Precondition: Port::begin_close() was called.
Ran close(Host& host, RunnablePort& port);
}  // namespace shared

// Hands out the ready records of a shared port, for a thread that waits for an event or an
// operation of the port.
Error hand_out_now(Host& host, RunnablePort& port);

}  // namespace iocp::run
