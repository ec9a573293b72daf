#pragma once

#include <cstdint>
#include <list>

#include "run/awaited.hpp"
#include "run/awaited_port.hpp"
#include "run/time_left.hpp"

namespace iocp::run {

// How a wait has ended. closed: an awaited event was closed. failed: a turn of `port` ended with
// `error`.
struct Waited {
    enum class End : std::uint8_t { met, timed_out, routines_ran, closed, failed };

    End end{End::timed_out};
    Error error{};
    PortRef port{};
};

// One wait of a thread. It makes the turns of the ports that it needs and no other thread runs. If
// other threads run all of them, it sleeps until their completions notify it.
class Wait {
public:
    // `routines` are the thread's own, for an alertable wait, or null. `timeout` is in nanoseconds;
    // negative: no limit; 0: checks once.
    Wait(Host& host, Awaited& awaited, Routines* routines, std::int64_t timeout);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

    // Waits, and returns how the wait has ended. Throws what a hook of the Host or a routine of the
    // thread throws.
    Waited wait();

private:
    void find_ports();
    [[nodiscard]] bool known(const RunnablePort& port) noexcept;
    [[nodiscard]] bool run_routines();
    [[nodiscard]] std::int64_t remaining();
    [[nodiscard]] std::int64_t at_most(std::int64_t limit);
    [[nodiscard]] Waited turn_or_sleep();

    Host& host_;
    Awaited& awaited_;
    Routines* routines_;
    TimeLeft left_;
    WaitingThread thread_;
    WaitPlace alert_;               // this thread's place among the waiters of its routines
    std::list<AwaitedPort> ports_;  // only grows: a port that is no longer needed does no harm
};

}  // namespace iocp::run
