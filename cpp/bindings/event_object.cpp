#include "bindings/event_object.hpp"

#include <cerrno>
#include <new>

#include "bindings/arguments.hpp"
#include "bindings/guarded.hpp"
#include "bindings/pickling.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace {

EventObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<EventObject*>(self); }

// A keyword of the constructor, true or false. False: exception set.
bool to_bool(const Types& types, PyObject* value, const char* refusal, bool& out) {
    if (!PyBool_Check(value)) {
        raise(types, ErrorClass::argument_type, EINVAL, refusal);
        return false;
    }
    out = value == Py_True;
    return true;
}

PyObject* make(PyTypeObject* type, PyObject* positional, PyObject* keywords) {
    PyObject* module = PyType_GetModule(type);
    PyObject* reference = module != nullptr ? PyObject_GetAttrString(module, "_types") : nullptr;
    if (reference == nullptr) {
        return nullptr;
    }
    const auto* types = static_cast<const Types*>(PyCapsule_GetPointer(reference, nullptr));
    bool manual_reset = true;
    bool set = false;
    PyObject* name = nullptr;
    PyObject* value = nullptr;
    Py_ssize_t at = 0;
    bool good = types != nullptr;
    if (good && PyTuple_GET_SIZE(positional) != 0) {
        raise(*types, ErrorClass::argument_type, EINVAL, "Event() takes keywords alone");
        good = false;
    }
    while (good && keywords != nullptr && PyDict_Next(keywords, &at, &name, &value) != 0) {
        if (PyUnicode_CompareWithASCIIString(name, "manual_reset") == 0) {
            good = to_bool(*types, value, "manual_reset is True or False", manual_reset);
        } else if (PyUnicode_CompareWithASCIIString(name, "set") == 0) {
            good = to_bool(*types, value, "set is True or False", set);
        } else {
            raise(*types, ErrorClass::argument_type, EINVAL,
                  "Event() takes the keywords manual_reset and set");
            good = false;
        }
    }
    auto* event = good ? PyObject_GC_New(EventObject, type) : nullptr;
    if (event == nullptr) {
        Py_DECREF(reference);
        return nullptr;
    }
    event->types_reference = reference;
    event->types = types;
    event->port = nullptr;
    new (&event->event) Event(manual_reset, set);
    event->fork_generation = iocp::fork_generation();
    event->closed = false;
    PyObject_GC_Track(reinterpret_cast<PyObject*>(event));
    return reinterpret_cast<PyObject*>(event);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self_of(self).port);
    return 0;
}

int clear(PyObject* self) {
    Py_CLEAR(self_of(self).port);
    return 0;
}

// An event that an operation has is kept by it, and one that is waited for by who waits.
void dealloc(PyObject* self) {
    EventObject& event = self_of(self);
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    (void)clear(self);
    event.event.~Event();
    Py_DECREF(event.types_reference);
    type->tp_free(self);
    Py_DECREF(type);
}

// Calls `change` with the events' lock held.
template <class Change>
PyObject* changed(PyObject* self, Change&& change) {
    EventObject& event = self_of(self);
    if (!usable(event)) {
        return nullptr;
    }
    const std::lock_guard lock(Event::mutex());
    change(event.event);
    Py_RETURN_NONE;
}

PyObject* set(PyObject* self, PyObject* /*unused*/) {
    return changed(self, [](Event& event) { event.set(); });
}

PyObject* reset(PyObject* self, PyObject* /*unused*/) {
    return changed(self, [](Event& event) { event.reset(); });
}

PyObject* is_set(PyObject* self, PyObject* /*unused*/) {
    const EventObject& event = self_of(self);
    if (!usable(event)) {
        return nullptr;
    }
    const std::lock_guard lock(Event::mutex());
    return PyBool_FromLong(event.event.is_set() ? 1 : 0);
}

PyObject* wait(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<2> signature{"wait", {"timeout", "alertable"}, 1, 0};
    EventObject& event = self_of(self);
    const Types& types = *event.types;
    std::array<PyObject*, 2> arguments{};
    std::int64_t timeout = -1;
    if (!usable(event) || !signature.parse(types, given, count, keywords, arguments) ||
        !to_timeout(types, arguments[0], timeout)) {
        return nullptr;
    }
    Awaited awaited;
    if (arguments[1] != nullptr &&
        !to_bool(types, arguments[1], "alertable is True or False", awaited.alertable)) {
        return nullptr;
    }
    awaited.events.push_back(&event);
    const Waited waited = wait_for(types, awaited, timeout);
    switch (waited) {
        case Waited::failed:
            return nullptr;
        case Waited::routines_ran:
            return Py_NewRef(types.routines_ran);
        case Waited::met:
        case Waited::timed_out:
            break;
    }
    return PyBool_FromLong(waited == Waited::met ? 1 : 0);
}

PyObject* close(PyObject* self, PyObject* /*unused*/) {
    EventObject& event = self_of(self);
    if (event.fork_generation == iocp::fork_generation()) {
        const std::lock_guard lock(Event::mutex());
        event.closed = true;
        event.event.waiters.notify_all();
    }
    Py_RETURN_NONE;
}

PyObject* get_closed(PyObject* self, void* /*unused*/) {
    const EventObject& event = self_of(self);
    const std::lock_guard lock(Event::mutex());
    return PyBool_FromLong(event.closed ? 1 : 0);
}

PyMethodDef methods[] = {
    {"set", guarded<set>, METH_NOARGS, "set() -> None\n\nSets it: who waits for it goes on."},
    {"reset", guarded<reset>, METH_NOARGS,
     "reset() -> None\n\nTakes it back: who waits from here on waits."},
    {"is_set", guarded<is_set>, METH_NOARGS,
     "is_set() -> bool\n\nWhether it is set. It runs no port, and resets nothing."},
    {"wait", fast(guarded<wait>), METH_FASTCALL | METH_KEYWORDS,
     "wait(timeout=None, *, alertable=False) -> bool\n\nWaits until it is set, at most timeout "
     "seconds; False: it was "
     "not. An event that is not reset by hand\nis reset for the first who waits. The port of the "
     "operation that has the event is run meanwhile if nobody\nelse runs it. Raises ArgumentError "
     "when it is closed. alertable: completion routines of this thread "
     "that are due,\nor become due, are run, and ROUTINES_RAN, which is false, is returned."},
    {"close", guarded<close>, METH_NOARGS,
     "close() -> None\n\nEnds its use: waits for it, and posts with it, raise ArgumentError. The "
     "operation that has it goes on."},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"closed", guarded<get_closed>, nullptr, "close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "Event(*, manual_reset=True, set=False)\n\n"
    "Set when the operation that was posted with it (event=) has finished, also one that was done "
    "by its\n"
    "post; instead of a callback, or a Completion for get(). A post resets it. One unfinished "
    "operation at a\n"
    "time has it: posting another with it raises ArgumentError. Every method may be called from "
    "any thread.\n"
    "In a forked child it raises ForkedPort.";

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(documentation)},
    {Py_tp_new, reinterpret_cast<void*>(guarded<make>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(guarded<traverse>)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<clear>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"iocp_sock._core.Event", sizeof(EventObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

PyTypeObject* make_event_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

bool usable(const EventObject& event) {
    if (event.fork_generation != iocp::fork_generation()) {
        raise(*event.types, ErrorClass::forked, EPERM,
              "this event was made before the fork and belongs to the parent process; make a new "
              "one in the child");
        return false;
    }
    bool closed = false;
    {
        const std::lock_guard lock(Event::mutex());
        closed = event.closed;
    }
    if (closed) {
        raise(*event.types, ErrorClass::argument, EBADF, "the event is closed; make a new one");
    }
    return !closed;
}

bool reserve(EventObject& event, PyObject* port) {
    if (!usable(event)) {
        return false;
    }
    PyObject* before = nullptr;
    bool reserved = false;
    {
        const std::lock_guard lock(Event::mutex());
        reserved = event.event.reserve();
        if (reserved) {
            before = std::exchange(event.port, Py_NewRef(port));
            event.event.waiters.notify_all();  // there may be a port to run
        }
    }
    Py_XDECREF(before);
    if (!reserved) {
        raise(*event.types, ErrorClass::argument, EBUSY,
              "the event belongs to an operation that has not finished; each operation that is "
              "outstanding needs one of its own");
    }
    return reserved;
}

void release(EventObject& event) {
    {
        const std::lock_guard lock(Event::mutex());
        event.event.release();
    }
    let_go(event);
}

void let_go(EventObject& event) {
    PyObject* port = nullptr;
    {
        const std::lock_guard lock(Event::mutex());
        if (!event.event.reserved()) {
            port = std::exchange(event.port, nullptr);
        }
    }
    Py_XDECREF(port);
}

}  // namespace iocp::py
