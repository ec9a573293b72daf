// A port that several threads run: each is given a record at a time, hands it out, and asks again.
#include "bindings/run_shared.hpp"

#include <cerrno>
#include <utility>

#include "bindings/gathered.hpp"
#include "bindings/interrupt_event.hpp"
#include "bindings/thread_worker.hpp"

namespace iocp::py::shared {

namespace pb = pybind11;

namespace {

using Next = Port::Next;

constexpr std::int64_t longest_wait = 1'000'000'000;  // between looks at the interpreter's signals
constexpr Py_ssize_t most_of_once = 1024;             // records that one run_once() hands out

// This thread's part in running the port, for one call.
class Part {
public:
    Part(PyObject* self, PortObject& port)
        : self_(self), port_(port), mine_(ThreadWorker::of(self, port)) {
        if (mine_ == nullptr) {
            throw_set();
        }
        if (std::exchange(mine_->inside, true)) {
            raise(*port.types, ErrorClass::port_running, EBUSY,
                  "the callback's own caller runs the port already, in this thread");
            throw_set();
        }
        locked(port, [&] {
            port.core->workers().give_back(mine_->worker);
            return 0;
        });
    }
    ~Part() {
        mine_->inside = false;
        locked(port_, [&] {
            if (keeps_) {
                port_.core->workers().go_away(mine_->worker);
            } else {
                port_.core->workers().leave(mine_->worker);
            }
            return 0;
        });
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

    // With the port's lock held. Who is told that it is over closes the port before another thread
    // is told that it has ended.
    Next next() {
        const Next found = port_.core->next(mine_->worker, ready_);
        if (found == Next::over) {
            port_.mark_closed();
            port_.core->wake_workers();
        }
        return found;
    }
    Next more() {
        return port_.core->workers().take(mine_->worker, ready_) ? Next::record : Next::nothing;
    }
    // Hands out what it was given. Returns how much that was; throws what a callback raised.
    Py_ssize_t hand_out(PyObject** wanted) {
        Ready ready = std::exchange(ready_, {});
        Py_ssize_t count = ready.what != Ready::What::nagle_stall ? 1 : 0;
        if (port_.core->any_aside()) {
            count += hand_over(port_);
        }
        Retired retired;
        const bool good = hand_out_one(self_, port_, ready, retired, wanted);
        retire_handed_out(port_, retired);
        locked(port_, [&] {
            port_.core->workers().handed_out(mine_->worker);
            return 0;
        });
        if (!good) {
            throw_set();
        }
        return count;
    }
    // The completions go to the caller: until the thread asks again it is active.
    void keep() noexcept { keeps_ = true; }
    void wait(std::int64_t deadline) {
        if (port_.core->any_aside()) {
            (void)hand_over(port_);
            return;
        }
        Error error;
        detached([&] {
            error =
                port_.core->wait_for_next(mine_->worker, deadline, longest_wait, interrupt_event());
        });
        if (error) {
            raise(&port_, *port_.types, error);
            throw_set();
        }
        if (PyErr_CheckSignals() != 0) {
            throw_set();
        }
    }
    void finish_close() { port_.clear(); }

private:
    PyObject* self_;
    PortObject& port_;
    ThreadWorker* mine_;
    Ready ready_;
    bool keeps_{false};
};

// One of the calls of run() that are under way.
class Running {
public:
    explicit Running(PortObject& port) : port_(port) {
        locked(port, [&] {
            ++port.running;
            stops_ = port.stops - (port.stopping.exchange(false) ? 1 : 0);
            return 0;
        });
    }
    ~Running() {
        locked(port_, [&] {
            --port_.running;
            return 0;
        });
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    [[nodiscard]] bool stopped() const noexcept { return stops_ != port_.stops; }

private:
    PortObject& port_;
    unsigned stops_{0};
};

std::int64_t deadline_of(PortObject& port, std::int64_t timeout) {
    return timeout < 0 ? -1 : locked(port, [&] { return port.core->after(timeout); });
}

// Until the port is closed, or `over`, asked with the lock held, says so.
template <class Over>
void take_part(Part& part, PortObject& port, Over&& over) {
    for (;;) {
        Next next = Next::nothing;
        const bool leave = locked(port, [&] {
            if (over(false)) {
                return true;
            }
            next = part.next();
            return next != Next::record && over(true);
        });
        if (next == Next::over) {
            part.finish_close();
        }
        if (leave || next == Next::over || next == Next::ended) {
            return;
        }
        if (next == Next::record) {
            (void)part.hand_out(nullptr);
        } else {
            part.wait(-1);
        }
    }
}

}  // namespace

void run(const pb::object& self, PortObject& port, bool until_idle) {
    Part part(self.ptr(), port);
    const Running running(port);
    take_part(part, port, [&](bool nothing_left) {
        if (running.stopped()) {
            return true;
        }
        const bool idle = until_idle && nothing_left && port.core->quiet();
        if (idle) {
            port.core->wake_workers();  // those that wait for the same
        }
        return idle;
    });
}

// Another thread may end the port at any moment: then there is nothing left to do.
void close(const pb::object& self, PortObject& port) {
    ThreadWorker* mine = ThreadWorker::of(self.ptr(), port);
    if (mine == nullptr) {
        throw_set();
    }
    if (mine->inside) {
        return;  // the callback's caller takes part in it
    }
    Part part(self.ptr(), port);
    take_part(part, port, [](bool /*nothing_left*/) { return false; });
}

void stop(PortObject& port) {
    locked(port, [&] {
        ++port.stops;
        port.stopping = port.running == 0;
        port.core->wake_workers();
        return 0;
    });
}

Py_ssize_t run_once(const pb::object& self, PortObject& port, std::int64_t timeout) {
    Part part(self.ptr(), port);
    const std::int64_t deadline = deadline_of(port, timeout);
    Py_ssize_t count = 0;
    for (bool waited = false;; waited = true) {
        Next next = Next::nothing;
        bool late = false;
        do {
            next = locked(port, [&] {
                late = port.core->late(deadline);
                return part.next();
            });
            count += next == Next::record ? part.hand_out(nullptr) : 0;
        } while (next == Next::record && count < most_of_once);
        if (next == Next::over) {
            part.finish_close();
        }
        if (next != Next::nothing || count != 0 || (late && waited)) {
            return count;
        }
        part.wait(deadline);
    }
}

std::vector<PyObject*> gather(const pb::object& self, PortObject& port, std::size_t most,
                              std::int64_t timeout) {
    Part part(self.ptr(), port);
    const std::int64_t deadline = deadline_of(port, timeout);
    Gathered out(port);
    for (bool waited = false;;) {
        if (out.size() == 0) {
            out.expect();
            out.take_unclaimed(most);  // a thread that waits for something else may have kept some
        }
        bool late = false;
        const Next next = out.size() == most ? Next::nothing : locked(port, [&] {
            late = port.core->late(deadline);
            return out.size() == 0 ? part.next() : part.more();
        });
        if (next == Next::record) {
            out.expect();
            PyObject* wanted = nullptr;
            try {
                (void)part.hand_out(&wanted);
            } catch (...) {
                Py_XDECREF(wanted);
                throw;
            }
            if (wanted != nullptr) {
                out.add(wanted);
            }
            continue;
        }
        if (next == Next::over) {
            part.finish_close();
        }
        if (out.size() != 0) {
            part.keep();
        }
        if (out.size() != 0 || next != Next::nothing || (late && waited)) {
            return out.give();
        }
        part.wait(deadline);
        waited = true;
    }
}

bool hand_out_now(PyObject* self, PortObject& port) {
    const ThreadWorker* mine = ThreadWorker::of(self, port);
    if (mine == nullptr) {
        return false;
    }
    if (mine->inside || mine->worker.active()) {
        return true;
    }
    try {
        Part part(self, port);
        for (Py_ssize_t count = 0; count < most_of_once;) {
            port.expect_unclaimed();
            const Next next = locked(port, [&] { return part.next(); });
            if (next == Next::over) {
                part.finish_close();
            }
            if (next != Next::record) {
                break;
            }
            PyObject* wanted = nullptr;
            count += part.hand_out(&wanted);
            if (wanted != nullptr) {
                {
                    const std::lock_guard guard(port.links_mutex);
                    port.unclaimed.push_back(wanted);
                }
                locked(port, [&] {
                    port.core->workers().wake_one();
                    return 0;
                });
            }
        }
    } catch (pb::error_already_set& error) {
        error.restore();
        return false;
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return false;
    }
    drop_claimed(port);
    return true;
}

}  // namespace iocp::py::shared
