#pragma once

#include "bindings/objects.hpp"

namespace iocp::py {

struct EventObject {
    PyObject_HEAD
    PyObject* types_reference;
    const Types* types;
    // Everything from here on is guarded by the events' lock.
    PyObject* port;  // strong: of the operation that has the event, until it was handed over
    Event event;
    std::uint32_t fork_generation;
    bool closed;
};

PyTypeObject* make_event_type(PyObject* module);

inline EventObject& event_of(PyObject& object) noexcept {
    return reinterpret_cast<EventObject&>(object);
}

// Whether the event can be used: false with an exception set.
bool usable(const EventObject& event);
// Gives the event to an operation about to be posted to `port`. False: exception set.
bool reserve(EventObject& event, PyObject* port);
// The post was refused.
void release(EventObject& event);
// The operation that had it has been handed over.
void let_go(EventObject& event);

}  // namespace iocp::py
