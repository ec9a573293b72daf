#pragma once

#include <atomic>

#include "aio/ready_queue.hpp"
#include "aio/timer_heap.hpp"
#include "bindings/attached_mutex.hpp"
#include "bindings/compat.hpp"
#include "bindings/port_object.hpp"
#include "bindings/types.hpp"

namespace iocp::aio {

// Names that are looked up often, interned.
struct Names {
    PyObject* context{nullptr};  // the argument
    PyObject* time{nullptr};     // the method

    // Returns false with an exception set.
    bool intern();
    ~Names();
    Names() = default;
    Names(const Names&) = delete;
    Names& operator=(const Names&) = delete;
};

// The state of a loop: what it is to run, and what its turn has to know. asyncio's BaseEventLoop
// writes the flags as attributes.
//
// A thread takes `mutex` attached, and neither detaches nor calls into Python while it holds it.
struct LoopState {
    py::AttachedMutex mutex;  // guards the queue, the timers, `debug`, and closing
    ReadyQueue ready;
    TimerHeap timers;
    std::atomic<bool> closed{true};  // BaseEventLoop's constructor opens the loop
    std::atomic<bool> stopping{false};
    std::atomic<bool> debugging{false};  // the truth of `debug` when it was set
    std::atomic<bool> asleep{false};   // the turn waits, or is about to: a push must wake the port
    std::atomic<bool> turning{false};  // a turn is under way
    std::atomic<double> clock_resolution{1e-9};
    PyObject* debug{nullptr};  // the attribute _debug; null until it is set
    Names names;
};

// The Python object EventLoop of the core: the native half of an event loop, as a base class.
struct LoopObject {
    PyObject_HEAD
    PyObject* types_reference;  // keeps `types`
    const py::Types* types;
    PyObject*
        port_object;       // the Port; null before _attach(), and once the collector has cleared it
    py::PortObject* port;  // its value, or null
    LoopState state;
};

inline LoopObject& loop_of(PyObject* self) noexcept { return *reinterpret_cast<LoopObject*>(self); }

PyTypeObject* make_event_loop_type(PyObject* module);

// Raises RuntimeError in asyncio's words, and returns null.
PyObject* refuse_closed();

// Returns the time of the port's clock in seconds, or, without an open port, of the system's.
double time_of(LoopObject& loop);
// Asks the loop's method time(), which a subclass or a test may have replaced. Returns false with
// an exception set.
bool ask_time(LoopObject& loop, double& seconds);

// Ends the wait of the loop's turn. Any thread may call it.
void wake(LoopObject& loop);

}  // namespace iocp::aio
