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
// Makes a Timer that calls `callback` after `delay` nanoseconds.
PyObject* new_timer(PyObject* port, PortObject& binding, std::int64_t delay, PyObject* callback);
// Deletes a timer of the core that has fired. Returns its Timer object, which the caller then
// removes from the port's list, or null if the timer was stopped since.
TimerObject* take_fired(PortObject& port, Timer& core);
// Stops a timer. True: this call kept the timer from firing, and has removed the Timer object from
// the port's list.
bool stop_timer(PortObject& port, TimerObject& timer);

}  // namespace iocp::py
