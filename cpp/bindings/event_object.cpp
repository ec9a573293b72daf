#include "bindings/event_object.hpp"

#include <cerrno>
#include <new>

#include "base/process.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/pickling.hpp"
#include "bindings/port_object.hpp"
#include "bindings/types.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace {

EventObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<EventObject*>(self); }

// Converts an argument that must be a bool. False: an exception is set.
bool to_bool(const Types& types, PyObject* value, const char* refusal, bool& out) {
    if (!PyBool_Check(value)) {
        return refuse_type(types, refusal, value);
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
        raise(*types, ErrorClass::argument_type, EINVAL,
              "Event() takes no positional arguments; name them: Event(manual_reset=True, "
              "set=False)");
        good = false;
    }
    while (good && keywords != nullptr && PyDict_Next(keywords, &at, &name, &value) != 0) {
        if (PyUnicode_CompareWithASCIIString(name, "manual_reset") == 0) {
            good = to_bool(*types, value, "manual_reset must be True or False", manual_reset);
        } else if (PyUnicode_CompareWithASCIIString(name, "set") == 0) {
            good = to_bool(*types, value, "set must be True or False", set);
        } else {
            raise(*types, ErrorClass::argument_type, EINVAL,
                  "Event() has no such argument; it takes manual_reset and set");
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
    new (&event->event) run::PortEvent(manual_reset, set);
    event->fork_generation = iocp::fork_generation();
    PyObject_GC_Track(reinterpret_cast<PyObject*>(event));
    return reinterpret_cast<PyObject*>(event);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (const run::RunnablePort* port = self_of(self).event.port()) {
        Py_VISIT(static_cast<const PortObject*>(port)->self);
    }
    return 0;
}

int clear(PyObject* self) {
    self_of(self).event.abandon();
    return 0;
}

// Runs when no operation and no waiting thread uses the event any more, because each of them keeps
// a reference.
void dealloc(PyObject* self) {
    EventObject& event = self_of(self);
    PyObject_GC_UnTrack(self);
    PyTypeObject* type = Py_TYPE(self);
    event.event.~PortEvent();
    Py_DECREF(event.types_reference);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* set(PyObject* self, PyObject* /*unused*/) {
    EventObject& event = self_of(self);
    if (!usable(event)) {
        return nullptr;
    }
    event.event.set();
    Py_RETURN_NONE;
}

PyObject* reset(PyObject* self, PyObject* /*unused*/) {
    EventObject& event = self_of(self);
    if (!usable(event)) {
        return nullptr;
    }
    event.event.reset();
    Py_RETURN_NONE;
}

PyObject* is_set(PyObject* self, PyObject* /*unused*/) {
    const EventObject& event = self_of(self);
    return usable(event) ? PyBool_FromLong(event.event.is_set() ? 1 : 0) : nullptr;
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
    bool alertable = false;
    if (arguments[1] != nullptr &&
        !to_bool(types, arguments[1], "alertable must be True or False", alertable)) {
        return nullptr;
    }
    run::AwaitedEvents awaited({&event.event}, false);
    const Waited waited = wait_for(types, awaited, alertable, timeout);
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
        event.event.close();
    }
    Py_RETURN_NONE;
}

PyObject* get_closed(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(self_of(self).event.closed() ? 1 : 0);
}

PyMethodDef methods[] = {
    {"set", guarded<set>, METH_NOARGS,
     "set() -> None\n\n"
     "Sets the event: waiting threads go on."},
    {"reset", guarded<reset>, METH_NOARGS,
     "reset() -> None\n\n"
     "Clears the event: later waits block again."},
    {"is_set", guarded<is_set>, METH_NOARGS,
     "is_set() -> bool\n\n"
     "Returns whether the event is set. The call runs no port and resets nothing."},
    {"wait", fast(guarded<wait>), METH_FASTCALL | METH_KEYWORDS,
     "wait(timeout=None, *, alertable=False) -> bool\n\n"
     "Waits at most timeout seconds (None: no limit) until the event is set; False: it was\n"
     "not. An event without manual_reset is reset for the first thread that goes on. If no\n"
     "thread runs the port of the operation that has the event, the wait runs it. With\n"
     "alertable, this thread's completion routines run when they are due, and the wait then\n"
     "returns ROUTINES_RAN, which is false. Raises ArgumentError when the event is closed."},
    {"close", guarded<close>, METH_NOARGS,
     "close() -> None\n\n"
     "Ends the use of the event: waits for it and posts with it raise ArgumentError. An\n"
     "operation that has the event goes on."},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"closed", guarded<get_closed>, nullptr, "Whether close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "Event(*, manual_reset=True, set=False)\n\n"
    "An event that an operation sets when it has finished, even when its post finished it. An\n"
    "operation posted with event= has neither a callback nor a Completion for get(). The post\n"
    "resets the event. One unfinished operation at a time may have the event: posting another\n"
    "with it raises ArgumentError. Every method may be called from any thread. In a forked\n"
    "child every method but close() raises ForkedPort.";

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
    const bool closed = event.event.closed();
    if (closed) {
        raise(*event.types, ErrorClass::argument, EBADF, "the event is closed; make a new one");
    }
    return !closed;
}

bool reserve(EventObject& event, PortObject& port) {
    if (!usable(event)) {
        return false;
    }
    const bool reserved = event.event.reserve(port);
    if (!reserved) {
        raise(*event.types, ErrorClass::argument, EBUSY,
              "the event belongs to an operation that has not finished; give each unfinished "
              "operation an event of its own");
    }
    return reserved;
}

}  // namespace iocp::py
