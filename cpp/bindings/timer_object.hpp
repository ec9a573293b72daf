#pragma once

#include <cstdint>

#include "bindings/compat.hpp"
#include "bindings/core_side.hpp"
#include "bindings/linked_list.hpp"
#include "core/timer.hpp"

namespace iocp::py {

struct PortObject;

// The Python object Timer.
struct TimerObject {
    PyObject_HEAD
    PyObject* port;
    PortObject* binding;
    CoreSide<Timer> core;  // null once fired or cancelled; written with the port's lock held
    PyObject* callback;
    Links<TimerObject> links;
    double when;
};

PyTypeObject* make_timer_type(PyObject* module);
// Calls `callback` after `delay` nanoseconds.
PyObject* new_timer(PyObject* port, PortObject& binding, std::int64_t delay, PyObject* callback);
// Ends a fired timer of the core. Returns its object, which the caller takes from the port's list;
// null if the timer was stopped since.
TimerObject* take_fired(PortObject& port, Timer& core);
// Stops a timer. True: this call kept it from firing, and has taken the object from the list.
bool stop_timer(PortObject& port, TimerObject& timer);

}  // namespace iocp::py
