#include "bindings/run_port.hpp"

#include <algorithm>
#include <cerrno>

#include "bindings/arguments.hpp"
#include "bindings/gathered.hpp"
#include "bindings/keywords.hpp"
#include "bindings/run_shared.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

class Runner {
public:
    explicit Runner(PortObject& port) : hold_((require_usable(port), port)) {
        if (!take_over(port, hold_)) {
            if (PyErr_Occurred() != nullptr) {
                throw_set();
            }
            raise(*port.types, ErrorClass::port_running, EBUSY,
                  "the port is being run already: by another thread, or by the callback's own "
                  "caller");
            throw_set();
        }
    }

private:
    RunnerHold hold_;
};

bool all_closed(PortObject& port) {
    return port.next_ready >= port.inbox.size() &&
           locked(port, [&] { return port.core->finished(); });
}

std::int64_t nanoseconds_of(const PortObject& port, const pb::object& timeout) {
    std::int64_t nanoseconds = -1;
    if (!to_timeout(*port.types, timeout.ptr(), nanoseconds)) {
        throw_set();
    }
    return nanoseconds;
}

std::int64_t deadline_of(const PortObject& port, const pb::object& timeout) {
    const std::int64_t nanoseconds = nanoseconds_of(port, timeout);
    return nanoseconds < 0 ? -1 : port.core->now() + nanoseconds;
}

// A port for several threads.
bool shared_port(PortObject& port) {
    require_usable(port);
    return port.core->shared();
}

void finish_close(PortObject& port) {
    locked(port, [&] {
        port.mark_closed();
        return 0;
    });
    port.clear();
}

// Gathers up to `most` completions, waiting for the first.
std::vector<PyObject*> gather(const pb::object& self, PortObject& port, std::size_t most,
                              const pb::object& timeout) {
    if (shared_port(port)) {
        return shared::gather(self, port, most, nanoseconds_of(port, timeout));
    }
    const Runner runner(port);
    const std::int64_t deadline = deadline_of(port, timeout);
    Gathered out(port);
    out.take_unclaimed(most);
    port.polled = false;
    for (;;) {
        while (out.size() < most) {
            out.expect();
            PyObject* wanted = nullptr;
            if (dispatch(self.ptr(), port, &wanted) < 0) {
                Py_XDECREF(wanted);
                throw_set();
            }
            if (wanted == nullptr) {
                break;
            }
            out.add(wanted);
        }
        if (close_if_over(port)) {
            return out.give();
        }
        const bool late = deadline >= 0 && port.core->now() >= deadline && port.polled;
        if (out.size() != 0 || late || locked(port, [&] { return port.core->take_woken(); })) {
            return out.give();
        }
        if (!poll_once(self.ptr(), port, deadline)) {
            throw_set();
        }
        port.polled = true;
    }
}

}  // namespace

bool close_if_over(PortObject& port) {
    const bool over = all_closed(port);
    if (over) {
        finish_close(port);
    }
    return over;
}

void run(const pb::object& self, const pb::object& until_idle) {
    auto& port = self.cast<PortObject&>();
    const bool idle_ends = to_flag(*port.types, until_idle, "until_idle is True or False");
    if (shared_port(port)) {
        shared::run(self, port, idle_ends);
        return;
    }
    const Runner runner(port);
    for (;;) {
        if (dispatch(self.ptr(), port, nullptr) < 0) {
            throw_set();
        }
        (void)locked(port, [&] { return port.core->take_woken(); });
        if (port.stopping.exchange(false)) {
            return;  // also when stop() came before run() did
        }
        if (close_if_over(port)) {
            return;
        }
        if (idle_ends && locked(port, [&] { return port.core->quiet(); })) {
            return;
        }
        if (!poll_once(self.ptr(), port, -1)) {
            throw_set();
        }
    }
}

Py_ssize_t run_once(const pb::object& self, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    if (shared_port(port)) {
        return shared::run_once(self, port, nanoseconds_of(port, timeout));
    }
    const Runner runner(port);
    const std::int64_t deadline = deadline_of(port, timeout);
    do {
        if (!poll_once(self.ptr(), port, deadline)) {
            throw_set();
        }
        const Py_ssize_t count = dispatch(self.ptr(), port, nullptr);
        if (count < 0) {
            throw_set();
        }
        if (close_if_over(port)) {
            return count;
        }
        if (count > 0 || locked(port, [&] { return port.core->take_woken(); })) {
            return count;
        }
    } while (deadline < 0 || port.core->now() < deadline);
    return 0;
}

pb::object get(const pb::object& self, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    const std::vector<PyObject*> out = gather(self, port, 1, timeout);
    return out.empty() ? pb::none() : pb::reinterpret_steal<pb::object>(out.front());
}

pb::list get_batch(const pb::object& self, const pb::object& count, const pb::object& timeout) {
    auto& port = self.cast<PortObject&>();
    int most = 0;
    if (!to_int(*port.types, count.ptr(), "n", most)) {
        throw_set();
    }
    if (most < 1) {
        raise(*port.types, ErrorClass::argument, EINVAL, "n is how many to get at most, from 1");
        throw_set();
    }
    const std::vector<PyObject*> taken =
        gather(self, port, static_cast<std::size_t>(most), timeout);
    PyObject* result = PyList_New(static_cast<Py_ssize_t>(taken.size()));
    if (result == nullptr) {
        {
            // There is room: they were expected.
            const std::lock_guard guard(port.links_mutex);
            port.unclaimed.insert(port.unclaimed.begin(), taken.begin(), taken.end());
        }
        throw_set();
    }
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
    locked(port, [&] {
        port.core->begin_close(nanoseconds);
        return 0;
    });
    if (port.core->shared()) {
        shared::close(self, port);
        return;
    }
    RunnerHold runner(port);
    if (!take_over(port, runner) || port.closed) {
        if (PyErr_Occurred() != nullptr) {
            throw_set();
        }
        return;  // whoever runs the port closes it, and its run() returns
    }
    if (port.waiting.load() != 0 && !claimable(port)) {
        return;  // the ring is a waiting thread's, whose next turn closes the port
    }
    while (!all_closed(port)) {
        if (!poll_once(self.ptr(), port, -1) || dispatch(self.ptr(), port, nullptr) < 0) {
            throw_set();
        }
    }
    finish_close(port);
}

}  // namespace iocp::py
