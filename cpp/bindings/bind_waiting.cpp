// The waits that belong to no object: functions of the module.
#include "bindings/bind_waiting.hpp"

#include <cerrno>

#include "bindings/arguments.hpp"
#include "bindings/run_port.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

const Types& types_of_module() {
    const pb::capsule reference = pb::module_::import("iocp_sock._core").attr("_types");
    return *reference.get_pointer<Types>();
}

std::int64_t to_nanoseconds(const Types& types, const pb::object& timeout) {
    std::int64_t nanoseconds = -1;
    if (!to_timeout(types, timeout.ptr(), nanoseconds)) {
        throw_set();
    }
    return nanoseconds;
}

Waited wait_or_throw(const Types& types, Awaited& awaited, std::int64_t nanoseconds) {
    const Waited waited = wait_for(types, awaited, nanoseconds);
    if (waited == Waited::failed) {
        throw_set();
    }
    return waited;
}

pb::object routines_ran(const Types& types) {
    return pb::reinterpret_borrow<pb::object>(types.routines_ran);
}

[[noreturn]] void refuse_events(const Types& types) {
    raise(types, ErrorClass::argument_type, EINVAL, "events is an iterable of iocp_sock.Event");
    throw_set();
}

// Waits for those of an iterable of events; `awaited` tells which was set.
Waited wait_events(const Types& types, const pb::object& events, const pb::object& timeout,
                   Awaited& awaited) {
    const std::int64_t nanoseconds = to_nanoseconds(types, timeout);
    const auto list = pb::reinterpret_steal<pb::object>(PySequence_List(events.ptr()));
    if (!list) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
            throw_set();  // the iterable's own
        }
        PyErr_Clear();
        refuse_events(types);
    }
    const auto count = static_cast<std::size_t>(PyList_GET_SIZE(list.ptr()));
    if (count == 0) {
        raise(types, ErrorClass::argument, EINVAL, "no events are given to wait for");
        throw_set();
    }
    awaited.events.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        PyObject* event = PyList_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i));
        if (!Py_IS_TYPE(event, types.event)) {
            refuse_events(types);
        }
        if (!usable(event_of(*event))) {
            throw_set();
        }
        awaited.events.push_back(&event_of(*event));
    }
    return wait_or_throw(types, awaited, nanoseconds);
}

pb::object wait_any(const pb::object& events, const pb::object& timeout, bool alertable) {
    const Types& types = types_of_module();
    Awaited awaited;
    awaited.alertable = alertable;
    switch (wait_events(types, events, timeout, awaited)) {
        case Waited::met:
            return pb::int_(awaited.index);
        case Waited::routines_ran:
            return routines_ran(types);
        case Waited::timed_out:
        case Waited::failed:
            break;
    }
    return pb::none();
}

pb::object wait_all(const pb::object& events, const pb::object& timeout, bool alertable) {
    const Types& types = types_of_module();
    Awaited awaited;
    awaited.all = true;
    awaited.alertable = alertable;
    const Waited waited = wait_events(types, events, timeout, awaited);
    if (waited == Waited::routines_ran) {
        return routines_ran(types);
    }
    return pb::bool_(waited == Waited::met);
}

pb::object sleep(const pb::object& seconds, bool alertable) {
    const Types& types = types_of_module();
    if (seconds.is_none()) {
        raise(types, ErrorClass::argument_type, EINVAL, "seconds is a number; math.inf: for ever");
        throw_set();
    }
    Awaited awaited;
    awaited.alertable = alertable;
    const Waited waited = wait_or_throw(types, awaited, to_nanoseconds(types, seconds));
    if (waited == Waited::routines_ran) {
        return routines_ran(types);
    }
    return pb::none();
}

}  // namespace

void bind_waiting(pb::module_& module) {
    module.def("wait_any", &wait_any, pb::arg("events"), pb::arg("timeout") = pb::none(),
               pb::kw_only(), pb::arg("alertable") = false,
               "Waits until one of the events is set, at most timeout seconds, and returns the "
               "index of the first that\nis, which is reset unless that is done by hand; None: "
               "none was. The ports of their operations are run\nmeanwhile where nobody else runs "
               "them. alertable: completion routines of this thread that are due, or\nbecome due, "
               "are run, and ROUTINES_RAN is returned.");
    module.def("wait_all", &wait_all, pb::arg("events"), pb::arg("timeout") = pb::none(),
               pb::kw_only(), pb::arg("alertable") = false,
               "Waits until all of the events are set at one moment, at most timeout seconds; "
               "False: they were not,\nand none was reset. alertable: as for wait_any().");
    module.def("sleep", &sleep, pb::arg("seconds"), pb::kw_only(), pb::arg("alertable") = false,
               "Sleeps so many seconds and returns None. alertable: until completion routines of "
               "this thread ran, which\nreturns ROUTINES_RAN; those that are due already run at "
               "once. An exception of a routine is raised here.");
}

}  // namespace iocp::py
