#pragma once

#include "bindings/port_object.hpp"
#include "bindings/types.hpp"
#include "run/port_event.hpp"

namespace iocp::py {

struct EventObject {
    PyObject_HEAD
    PyObject* types_reference;
    const Types* types;
    run::PortEvent event;
    std::uint32_t fork_generation;
};

PyTypeObject* make_event_type(PyObject* module);

inline EventObject& event_of(PyObject& object) noexcept {
    return reinterpret_cast<EventObject&>(object);
}

// Returns whether the event can be used. False: an exception is set.
bool usable(const EventObject& event);
// Reserves the event for an operation that is about to be posted to `port`. False: an exception is
// set.
bool reserve(EventObject& event, PortObject& port);

}  // namespace iocp::py
