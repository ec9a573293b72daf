// The functions of the module that wait: wait_any(), wait_all() and sleep().

#include "bindings/bind_waiting.hpp"

#include <cerrno>
#include <utility>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/event_object.hpp"
#include "bindings/keywords.hpp"
#include "bindings/port_object.hpp"
#include "bindings/run_port.hpp"
#include "bindings/types.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

std::int64_t to_nanoseconds(const Types& types, const pb::object& timeout) {
    std::int64_t nanoseconds = -1;
    if (!to_timeout(types, timeout.ptr(), nanoseconds)) {
        throw_set();
    }
    return nanoseconds;
}

Waited wait_or_throw(const Types& types, run::Awaited& awaited, bool alertable,
                     std::int64_t nanoseconds) {
    const Waited waited = wait_for(types, awaited, alertable, nanoseconds);
    if (waited == Waited::failed) {
        throw_set();
    }
    return waited;
}

pb::object routines_ran(const Types& types) {
    return pb::reinterpret_borrow<pb::object>(types.routines_ran);
}

constexpr Py_ssize_t max_events = Py_ssize_t{1} << 20;
constexpr const char* not_alertable = "alertable must be True or False";
constexpr const char* not_events = "events must be an iterable of iocp_sock.Event";

// Waits for one of several events, or with `all` for all of them. Sets `index` to the position of
// the first set event.
Waited wait_events(const Types& types, const pb::object& events, const pb::object& timeout,
                   bool alertable, bool all, std::size_t& index) {
    const std::int64_t nanoseconds = to_nanoseconds(types, timeout);
    const auto list = pb::reinterpret_steal<pb::object>(listed(
        types, events.ptr(), max_events, not_events, "events must have at most 1,048,576 items"));
    if (!list) {
        throw_set();
    }
    const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(list.ptr()));
    if (count == 0) {
        raise(types, ErrorClass::argument, EINVAL,
              "events must have at least one Event to wait for");
        throw_set();
    }
    std::vector<run::PortEvent*> pointers;
    pointers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        PyObject* event = PyTuple_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i));
        if (!Py_IS_TYPE(event, types.event)) {
            raise(types, ErrorClass::argument_type, EINVAL, not_events);
            throw_set();
        }
        if (!usable(event_of(*event))) {
            throw_set();
        }
        pointers.push_back(&event_of(*event).event);
    }
    run::AwaitedEvents awaited(std::move(pointers), all);
    const Waited waited = wait_or_throw(types, awaited, alertable, nanoseconds);
    index = awaited.index();
    return waited;
}

pb::object place(std::size_t index) {
    auto number = pb::reinterpret_steal<pb::object>(PyLong_FromSize_t(index));
    if (!number) {
        throw_set();
    }
    return number;
}

pb::object wait_any(const Types& types, const pb::object& events, const pb::object& timeout,
                    const pb::object& alertable) {
    const bool alert = to_flag(types, alertable, not_alertable);
    std::size_t index = 0;
    switch (wait_events(types, events, timeout, alert, false, index)) {
        case Waited::met:
            return place(index);
        case Waited::routines_ran:
            return routines_ran(types);
        case Waited::timed_out:
        case Waited::failed:
            break;
    }
    return pb::none();
}

pb::object wait_all(const Types& types, const pb::object& events, const pb::object& timeout,
                    const pb::object& alertable) {
    const bool alert = to_flag(types, alertable, not_alertable);
    std::size_t index = 0;
    const Waited waited = wait_events(types, events, timeout, alert, true, index);
    if (waited == Waited::routines_ran) {
        return routines_ran(types);
    }
    return pb::bool_(waited == Waited::met);
}

pb::object sleep(const Types& types, const pb::object& seconds, const pb::object& alertable) {
    if (seconds.is_none()) {
        raise(types, ErrorClass::argument_type, EINVAL,
              "seconds must be a number; use math.inf to wait for ever");
        throw_set();
    }
    const bool alert = to_flag(types, alertable, not_alertable);
    run::AwaitedTime awaited;
    const Waited waited = wait_or_throw(types, awaited, alert, to_nanoseconds(types, seconds));
    if (waited == Waited::routines_ran) {
        return routines_ran(types);
    }
    return pb::none();
}

constexpr Signature<3> wait_any_arguments{"wait_any", {"events", "timeout", "alertable"}, 2, 1};
constexpr Signature<3> wait_all_arguments{"wait_all", {"events", "timeout", "alertable"}, 2, 1};
constexpr Signature<2> sleep_arguments{"sleep", {"seconds", "alertable"}, 1, 1};

PyMethodDef functions[] = {
    {"wait_any", fast(guarded<module_function<wait_any_arguments, wait_any>>), keywords_call,
     "wait_any(events, timeout=None, *, alertable=False) -> int or None\n\n"
     "Waits at most timeout seconds (None: no limit) until one of the events is set, and\n"
     "returns the index of the first set one; None: none was set. An event without\n"
     "manual_reset is then reset. If no thread runs the ports of the operations that have\n"
     "the events, the wait runs them. With alertable, this thread's completion routines run\n"
     "when they are due, and the wait then returns ROUTINES_RAN."},
    {"wait_all", fast(guarded<module_function<wait_all_arguments, wait_all>>), keywords_call,
     "wait_all(events, timeout=None, *, alertable=False) -> bool\n\n"
     "Waits at most timeout seconds (None: no limit) until all of the events are set at one\n"
     "moment. Those without manual_reset are then reset. False: they were not all set, and\n"
     "none was reset. Ports and alertable are as for wait_any()."},
    {"sleep", fast(guarded<module_function<sleep_arguments, sleep>>), keywords_call,
     "sleep(seconds, *, alertable=False) -> None\n\n"
     "Sleeps for that many seconds (math.inf: for ever) and returns None. With alertable,\n"
     "this thread's completion routines run when they are due, and the sleep then returns\n"
     "ROUTINES_RAN. Raises the exception of a routine."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_waiting(pb::module_& module) {
    if (PyModule_AddFunctions(module.ptr(), functions) < 0) {
        throw_set();
    }
}

}  // namespace iocp::py
