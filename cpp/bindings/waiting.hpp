#pragma once

#include <cstdint>
#include <vector>

#include "bindings/event_object.hpp"

namespace iocp::py {

enum class Waited : std::uint8_t { met, timed_out, routines_ran, failed };

// What a thread waits for: one of several events, all of them, the end of an operation, or nothing
// but time.
struct Awaited {
    std::vector<EventObject*> events;  // borrowed
    bool all{false};
    OperationObject* operation{nullptr};  // borrowed, instead of events
    bool alertable{false};                // this thread's completion routines are run
    Py_ssize_t index{-1};                 // of the event that was set, once one of several was
};

// Waits up to `timeout` nanoseconds (negative: for ever), and runs the ports that nobody else runs
// and that can bring about what is awaited, or make a routine due; with a timeout of 0 it takes one
// look. Failed: an exception is set, which may be a signal's or a callback's.
Waited wait_for(const Types& types, Awaited& awaited, std::int64_t timeout);

// Acquires the right to run the port, if need be from a thread that only waits. False: another
// thread, or this one's own caller, runs it, or an exception is set, a signal's.
bool take_over(PortObject& port, RunnerHold& hold);

// Whether this thread may make the port's turns, if nobody else does.
bool claimable(PortObject& port);

// A turn of the port, if this thread may make one, that waits for nothing: what is ready is handed
// out, and completions without a callback are kept for get(). False: exception set.
bool turn_now(PyObject* self, PortObject& port);

}  // namespace iocp::py
