// The methods of Port that run the port. They convert the arguments and make the calls of
// run/calls.hpp.

#include "bindings/run_port.hpp"

#include <cerrno>
#include <memory>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/host.hpp"
#include "bindings/keywords.hpp"
#include "bindings/port_object.hpp"
#include "bindings/types.hpp"
#include "run/runner.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

constexpr const char* runs_already =
    "the port runs already, in another thread or in the caller of this callback; only one thread "
    "may run it";

// Keeps a thread the runner of a port for longer than one call, such as while an event loop runs.
struct LoopRun {
    LoopRun(pb::object given, PortObject& port) : self(std::move(given)), runner(host, port) {}
    // Another thread may run the loop next, while this one lives.
    ~LoopRun() {
        auto& port = self.cast<PortObject&>();
        if (!port.forked() && runner.held()) {
            locked(port, [&port] {
                port.core->release_thread();
                return 0;
            });
        }
    }
    LoopRun(const LoopRun&) = delete;
    LoopRun& operator=(const LoopRun&) = delete;

    pb::object self;  // keeps the port
    DropHost host;
    run::Runner runner;
};

std::int64_t nanoseconds_of(const PortObject& port, const pb::object& timeout) {
    std::int64_t nanoseconds = -1;
    if (!to_timeout(*port.types, timeout.ptr(), nanoseconds)) {
        throw_set();
    }
    return nanoseconds;
}

// Makes a call that runs the port. Raises PortRunning if the call is refused, and otherwise the
// error that it returns.
template <class Call>
run::Ran ran(PortObject& port, Call&& call) {
    run::Ran result;
    if (!attempted([&] { result = call(); }) || !succeeded(port, result)) {
        throw_set();
    }
    return result;
}

void require_one_thread(PortObject& port) {
    require_usable(port);
    if (port.core->shared()) {
        raise(*port.types, ErrorClass::argument, EINVAL,
              "a port for several threads makes its turns in run(), run_once() and get() only");
        throw_set();
    }
}

void gather(PortObject& port, GetHost& host, const pb::object& timeout) {
    require_usable(port);
    const std::int64_t nanoseconds = nanoseconds_of(port, timeout);
    (void)ran(port, [&] { return run::get(host, port, nanoseconds, host.taken()); });
}

}  // namespace

bool succeeded(PortObject& port, const run::Ran& ran) {
    if (ran.refused) {
        raise(*port.types, ErrorClass::port_running, EBUSY,
              port.core->shared()
                  ? "this thread runs the port already: the call comes from one of its callbacks"
                  : runs_already);
        return false;
    }
    if (ran.error && (ran.error.fault != Fault::port_closed || usable(port))) {
        raise(&port, *port.types, ran.error);
    }
    return !ran.error;
}

void run(const pb::object& self, const pb::object& until_idle) {
    auto& port = self.cast<PortObject&>();
    const bool idle_ends = to_flag(*port.types, until_idle, "until_idle must be True or False");
    require_usable(port);
    DropHost host;
    (void)ran(port, [&] { return run::run(host, port, idle_ends); });
}

Py_ssize_t run_once(const pb::object& self, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    const std::int64_t nanoseconds = nanoseconds_of(port, timeout);
    DropHost host;
    const run::Ran result = ran(port, [&] { return run::run_once(host, port, nanoseconds); });
    return static_cast<Py_ssize_t>(result.count);
}

pb::object enter(const pb::object& self) {
    static constexpr const char* name = "iocp_sock.LoopRun";
    auto& port = self.cast<PortObject&>();
    require_one_thread(port);
    auto made = std::make_unique<LoopRun>(self, port);
    bool taken = false;
    if (!attempted([&] { taken = made->runner.take_over(); })) {
        throw_set();
    }
    if (!taken) {
        raise(*port.types, ErrorClass::port_running, EBUSY, runs_already);
        throw_set();
    }
    PyObject* capsule = PyCapsule_New(made.get(), name, [](PyObject* object) {
        delete static_cast<LoopRun*>(PyCapsule_GetPointer(object, name));
    });
    if (capsule == nullptr) {
        throw_set();
    }
    (void)made.release();
    return pb::reinterpret_steal<pb::object>(capsule);
}

pb::object get(const pb::object& self, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    GetHost host(port, 1);
    gather(port, host, timeout);
    const std::vector<PyObject*> out = host.give();
    return out.empty() ? pb::none() : pb::reinterpret_steal<pb::object>(out.front());
}

pb::list get_batch(const pb::object& self, const pb::object& count, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    int maximum = 0;
    if (!to_int(*port.types, count.ptr(), "n", maximum)) {
        throw_set();
    }
    if (maximum < 1) {
        raise(*port.types, ErrorClass::argument, EINVAL,
              "n must be an int, 1 or more (the maximum of completions to get)");
        throw_set();
    }
    GetHost host(port, static_cast<std::size_t>(maximum));
    gather(port, host, timeout);
    PyObject* result = PyList_New(static_cast<Py_ssize_t>(host.taken().count));
    if (result == nullptr) {
        throw_set();  // GetHost's destructor gives the completions back to the port
    }
    const std::vector<PyObject*> taken = host.give();
    for (std::size_t i = 0; i < taken.size(); ++i) {
        PyList_SET_ITEM(result, static_cast<Py_ssize_t>(i), taken[i]);
    }
    return pb::reinterpret_steal<pb::list>(result);
}

void close(const pb::object& self, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    if (port.closed) {
        return;
    }
    require_not_forked(port);
    const std::int64_t nanoseconds = nanoseconds_of(port, timeout);
    DropHost host;
    (void)ran(port, [&] { return run::close(host, port, nanoseconds); });
}

void stop(const pb::object& self) {
    auto& port = self.cast<PortObject&>();
    require_usable(port);
    DropHost host;
    run::stop(host, port);
}

}  // namespace iocp::py
