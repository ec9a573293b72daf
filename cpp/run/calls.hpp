#pragma once

#include <cstddef>
#include <cstdint>

#include "run/runnable_port.hpp"

namespace iocp::run {

// The calls that run a port, of either make. Timeouts are in nanoseconds; negative: no limit. They
// begin with the call, even if the thread first has to take the port over. Every call throws the
// exceptions of its host's hooks.

// The result of a call that runs a port.
struct Ran {
    std::size_t count{0};  // completions that were handed out
    Error error{};         // of a turn, or port_is_closed
    bool refused{false};   // another thread, or a caller of this call, runs the port
};

// The count of the completions that a get() has gathered. The dispatch() of the host of that get()
// counts them, and stops at the maximum.
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
// Makes one turn and leaves its records in the inbox, for hand_out(). `count` is their number, and
// 1 more if operations notified their events. Makes none if records are there already. With a
// timeout of 0 the thread stays attached, because detaching would cost more than the turn. The
// caller may be the port's runner from before the turn to after the hand-out, so that no other
// thread hands the records out. Precondition: the port is for one thread.
Ran make_turn(Host& host, RunnablePort& port, std::int64_t timeout);
// Hands out the records of make_turn(). Precondition: the port is for one thread.
Ran hand_out(Host& host, RunnablePort& port);
// Waits for the first completion that goes to the caller, and gathers those that are ready then.
Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken);
// Closes every socket, each within `timeout` without progress, and runs the port until it is
// closed. If another thread runs the port, or a caller of this call, that one closes it.
Ran close(Host& host, RunnablePort& port, std::int64_t timeout);
// Ends every run() that is under way, or the next one.
void stop(Host& host, RunnablePort& port);
// Hands out the ready records without waiting, if this thread may run the port.
Error turn_now(Host& host, RunnablePort& port);

// The calls that run a shared port.
namespace shared {
Ran run(Host& host, RunnablePort& port, bool until_idle);
Ran run_once(Host& host, RunnablePort& port, std::int64_t timeout);
Ran get(Host& host, RunnablePort& port, std::int64_t timeout, const Taken& taken);
// Precondition: the core's close has begun.
Ran close(Host& host, RunnablePort& port);
}  // namespace shared

// Hands out the ready records of a shared port, for a thread that waits for an event or an
// operation of the port.
Error hand_out_now(Host& host, RunnablePort& port);

}  // namespace iocp::run
