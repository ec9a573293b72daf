// A thread that waits: for events, or for one operation. It runs the ports that nobody else runs;
// where others run them all it sleeps, and is woken by what they complete.
#include "bindings/waiting.hpp"

#include <algorithm>
#include <chrono>
#include <list>
#include <optional>

#include "backend/parker.hpp"
#include "bindings/held.hpp"
#include "bindings/interrupt_event.hpp"
#include "bindings/routines.hpp"
#include "bindings/run_shared.hpp"

namespace iocp::py {

namespace {

constexpr std::int64_t longest_sleep = 1'000'000'000;  // between looks at the signals
constexpr std::int64_t between_looks = 100'000'000;    // at a port whose thread may have ended
constexpr std::int64_t slice_of_several = 2'000'000;   // for each of several ports in turn

bool dispatch_all(PyObject* self, PortObject& port) {
    PyObject* wanted = nullptr;
    do {
        wanted = nullptr;
        port.expect_unclaimed();
        const Py_ssize_t count = dispatch(self, port, &wanted);
        if (wanted != nullptr) {
            const std::lock_guard guard(port.links_mutex);
            port.unclaimed.push_back(wanted);
        }
        if (count < 0) {
            return false;
        }
    } while (wanted != nullptr);
    (void)close_if_over(port);
    return true;
}

// The thread itself, as what it waits for sees it.
class WaitingThread final : public Waiter {
public:
    void notify() noexcept override {
        if (!std::exchange(told_, true)) {
            if (turning_ != nullptr) {
                turning_->wake();
            } else {
                parker_.wake();
            }
        }
    }
    // What is told from here on ends the next wait.
    void look_again() noexcept {
        const std::lock_guard lock(Event::mutex());
        told_ = false;
        parker_.rearm();
    }
    // From here on wakes go to the backend, whose turn is made. False: it must not wait.
    bool begin_turn(Backend& backend) noexcept {
        const std::lock_guard lock(Event::mutex());
        turning_ = &backend;
        return !told_;
    }
    void end_turn() noexcept {
        const std::lock_guard lock(Event::mutex());
        turning_ = nullptr;
    }
    void sleep(std::int64_t nanoseconds) noexcept {
        {
            const std::lock_guard lock(Event::mutex());
            if (told_) {
                return;
            }
        }
        detached([&] { parker_.park(nanoseconds, interrupt_event()); });
    }

private:
    bool told_{false};
    Backend* turning_{nullptr};
    Parker parker_;
};

// The time of one turn that a waiting thread makes.
class Turning {
public:
    Turning(WaitingThread& thread, Backend& backend)
        : thread_(thread), may_wait_(thread.begin_turn(backend)) {}
    ~Turning() { thread_.end_turn(); }
    Turning(const Turning&) = delete;
    Turning& operator=(const Turning&) = delete;

    [[nodiscard]] bool may_wait() const noexcept { return may_wait_; }

private:
    WaitingThread& thread_;
    bool may_wait_;
};

// A thread's place among those that wait for something of a port. While there is one, a port that
// has been closed keeps its backend, so that the thread may ask it without the port's lock.
class WaiterOf {
public:
    WaiterOf(PortObject& port, Waiter& waiter) : port_(port) {
        place_.waiter = &waiter;
        port_.waiting.fetch_add(1);
        const std::lock_guard lock(Event::mutex());
        port_.waiters.add(place_);
    }
    ~WaiterOf() {
        {
            const std::lock_guard lock(Event::mutex());
            port_.waiters.remove(place_);
        }
        if (port_.waiting.fetch_sub(1) == 1) {
            port_.release_if_closed();
        }
    }
    WaiterOf(const WaiterOf&) = delete;
    WaiterOf& operator=(const WaiterOf&) = delete;

private:
    PortObject& port_;
    WaitPlace place_;
};

// A port that a thread waits for; while it does, the thread keeps the right to run it.
class AwaitedPort {
public:
    AwaitedPort(PyObject* self, PortObject& port, Waiter& waiter)
        : self_(Py_NewRef(self)), port_(port), place_(std::in_place, port, waiter) {}
    ~AwaitedPort() {
        place_.reset();  // it need not be told of what it does itself
        hold_.reset();
        Py_DECREF(self_);
    }
    AwaitedPort(const AwaitedPort&) = delete;
    AwaitedPort& operator=(const AwaitedPort&) = delete;

    [[nodiscard]] PyObject* self() const noexcept { return self_; }
    [[nodiscard]] PortObject& port() const noexcept { return port_; }
    [[nodiscard]] std::int64_t now() const noexcept { return port_.core->now(); }
    // Whether another thread alone may run it, as far as the last look has told.
    [[nodiscard]] bool foreign() const noexcept { return foreign_; }

    // Whether this thread may run it: nobody does, or this thread's own caller. One for several
    // threads any may wait on.
    bool acquire() {
        if (port_.core->shared()) {
            return !port_.closed && !port_.forked();
        }
        const bool own_caller = port_.runner_thread.load() == PyThread_get_thread_ident() &&
                                (!hold_.has_value() || !hold_->held());
        const bool gives_way = port_.contenders.load() != 0 && !own_caller;
        const bool usable = !port_.closed && !port_.forked();
        foreign_ = usable && !claimable(port_);
        if (!usable || foreign_ || gives_way) {
            hold_.reset();
        } else if (!hold_.has_value() || !hold_->here()) {
            hold_.emplace(port_, RunnerHold::For::waiting);
        }
        return hold_.has_value() && hold_->here();
    }

    void let_go() { hold_.reset(); }

    // Inside a callback of the port what becomes ready stays for who runs it. False: exception set.
    bool turn(WaitingThread& thread, std::int64_t timeout) {
        if (port_.core->shared()) {
            return turn_shared(thread, timeout);
        }
        const bool nested = !hold_->held();
        const Error error = nested ? collect(thread, timeout) : poll(thread, timeout);
        foreign_ = error.fault == Fault::wrong_thread;
        if (foreign_) {
            hold_->give_up();
            hold_.reset();
            return true;
        }
        if (error) {
            raise(&port_, *port_.types, error);
            return false;
        }
        return nested || dispatch_all(self_, port_);
    }

private:
    // Up to the end of the timeout, or, where the thread was told meanwhile, until now.
    [[nodiscard]] std::int64_t deadline_of(const Turning& turning, std::int64_t timeout) const {
        const std::int64_t start = now();
        return !turning.may_wait() ? start : timeout < 0 ? -1 : start + timeout;
    }
    Error poll(WaitingThread& thread, std::int64_t timeout) {
        const Turning turning(thread, port_.core->backend());
        return poll_port(port_, deadline_of(turning, timeout));
    }
    Error collect(WaitingThread& thread, std::int64_t timeout) {
        const Turning turning(thread, port_.core->backend());
        const std::int64_t deadline = deadline_of(turning, timeout);
        const std::int64_t slice = now() + longest_sleep;
        Error error;
        detached(
            [&] { error = port_.core->collect(deadline < 0 ? slice : std::min(slice, deadline)); });
        return error;
    }
    // One for several threads: makes a turn, or sees the end of one that another thread makes.
    bool turn_shared(WaitingThread& thread, std::int64_t timeout) {
        const std::uint64_t seen = port_.core->turns();
        Error error;
        {
            const Turning turning(thread, port_.core->backend());
            const std::int64_t left = !turning.may_wait() ? 0
                                      : timeout < 0       ? between_looks
                                                          : timeout;
            detached(
                [&] { error = port_.core->collect(now() + std::min(left, between_looks), seen); });
        }
        if (error) {
            raise(&port_, *port_.types, error);
            return false;
        }
        return port_.closed || shared::hand_out_now(self_, port_);
    }

    PyObject* self_;  // strong
    PortObject& port_;
    std::optional<WaiterOf> place_;
    std::optional<RunnerHold> hold_;
    bool foreign_{false};
};

class Wait {
public:
    Wait(const Types& types, Awaited& awaited, std::int64_t timeout)
        : types_(types), awaited_(awaited), timeout_(timeout), places_(awaited.events.size()) {
        const std::lock_guard lock(Event::mutex());
        for (std::size_t i = 0; i < places_.size(); ++i) {
            places_[i].waiter = &thread_;
            awaited_.events[i]->event.waiters.add(places_[i]);
        }
    }
    ~Wait() {
        const std::lock_guard lock(Event::mutex());
        if (routines_ != nullptr) {
            routines_->waiters.remove(alert_);
        }
        for (std::size_t i = 0; i < places_.size(); ++i) {
            awaited_.events[i]->event.waiters.remove(places_[i]);
        }
    }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

    Waited wait() {
        if (awaited_.alertable && !be_alert()) {
            return Waited::failed;
        }
        for (bool looked = false;; looked = true) {
            thread_.look_again();
            find_ports();
            for (AwaitedPort& port : ports_) {
                if (!port.port().forked() && port.port().core->any_aside()) {
                    (void)hand_over(port.port());
                }
            }
            const Waited routines = run_routines();
            if (routines != Waited::timed_out) {
                return routines;
            }
            const Waited state = look();
            if (state != Waited::timed_out) {
                return state;
            }
            if (PyErr_CheckSignals() != 0) {
                return Waited::failed;
            }
            if (looked && remaining() == 0) {
                return Waited::timed_out;
            }
            if (!turn_or_sleep()) {
                return Waited::failed;
            }
        }
    }

private:
    bool be_alert() {
        routines_ = Routines::of_this_thread();
        if (routines_ == nullptr) {
            return false;
        }
        alert_.waiter = &thread_;
        const std::lock_guard lock(Event::mutex());
        routines_->waiters.add(alert_);
        return true;
    }

    // Runs those that are due: routines_ran, failed, or (none was) timed_out.
    Waited run_routines() {
        if (routines_ == nullptr || !routines_->any_due()) {
            return Waited::timed_out;
        }
        for (AwaitedPort& port : ports_) {
            port.let_go();  // a routine may run it
        }
        return routines_->run_due() ? Waited::routines_ran : Waited::failed;
    }

    // Whether what is awaited has come: met, failed, or (not yet) timed_out.
    Waited look() {
        if (awaited_.operation != nullptr) {
            return is_done(*awaited_.operation) ? Waited::met : Waited::timed_out;
        }
        bool closed = false;
        bool met = awaited_.all;
        {
            const std::lock_guard lock(Event::mutex());
            for (std::size_t i = 0; i < places_.size() && !closed; ++i) {
                const EventObject& object = *awaited_.events[i];
                closed = object.closed;
                if (object.event.is_set() != awaited_.all) {
                    met = !awaited_.all;
                    awaited_.index = static_cast<Py_ssize_t>(i);
                    break;
                }
            }
            if (met && !closed) {
                pass();
            }
        }
        if (closed) {
            raise(types_, ErrorClass::argument, EBADF, "the event is closed");
            return Waited::failed;
        }
        return met ? Waited::met : Waited::timed_out;
    }

    // With the events' lock held: those that are waited for go on together, or not at all.
    void pass() noexcept {
        if (!awaited_.all) {
            awaited_.events[static_cast<std::size_t>(awaited_.index)]->event.pass();
            return;
        }
        for (EventObject* object : awaited_.events) {
            object->event.pass();
        }
    }

    // The ports whose turns can bring it about; an event may be given to an operation of another
    // one while it is waited for.
    void find_ports() {
        if (awaited_.operation != nullptr) {
            if (ports_.empty()) {
                const SocketObject& socket = *awaited_.operation->socket;
                ports_.emplace_back(socket.port, *socket.binding, thread_);
                listen_to(*awaited_.operation);
            }
            return;
        }
        std::vector<Held> found;
        {
            const std::lock_guard lock(Event::mutex());
            const auto add = [&](PyObject* port) {
                if (port != nullptr && port != last_ && !known(port)) {
                    found.emplace_back(Held(Py_NewRef(port)));
                    last_ = port;
                }
            };
            for (const EventObject* object : awaited_.events) {
                add(object->port);
            }
            if (routines_ != nullptr) {
                routines_->each_port(add);
            }
        }
        for (const Held& port : found) {
            if (!known(port.get())) {
                ports_.emplace_back(port.get(), pybind11::handle(port.get()).cast<PortObject&>(),
                                    thread_);
            }
        }
    }
    [[nodiscard]] bool known(PyObject* port) const noexcept {
        return std::any_of(ports_.begin(), ports_.end(),
                           [port](const AwaitedPort& at) { return at.self() == port; });
    }

    // Another thread may complete it.
    static void listen_to(OperationObject& op) {
        PortObject& port = *op.socket->binding;
        if (!port.forked()) {
            locked(port, [&op] {
                if (Operation* core = op.core.get()) {
                    core->told = true;
                }
                return 0;
            });
        }
    }

    // In nanoseconds of whoever keeps the time; negative: for ever.
    std::int64_t remaining() {
        if (timeout_ < 0) {
            return -1;
        }
        const std::int64_t now = time();
        if (!started_.has_value()) {
            started_ = now;
        }
        return std::max<std::int64_t>(timeout_ - (now - *started_), 0);
    }
    // A model's time is virtual.
    [[nodiscard]] std::int64_t time() const {
        for (const AwaitedPort& port : ports_) {
            if (!port.port().closed && port.port().core->capabilities().virtual_time) {
                return port.now();
            }
        }
        return std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }

    bool turn_or_sleep() {
        std::vector<AwaitedPort*> mine;
        bool foreign = false;
        for (AwaitedPort& port : ports_) {
            if (port.acquire()) {
                mine.push_back(&port);
            }
            foreign = foreign || port.foreign();
        }
        const std::int64_t left = remaining();
        const auto at_most = [left](std::int64_t limit) {
            return left < 0 ? limit : std::min(left, limit);
        };
        if (mine.empty()) {
            thread_.sleep(at_most(foreign ? between_looks : longest_sleep));
            return true;
        }
        const std::int64_t each = mine.size() > 1 ? at_most(slice_of_several)
                                  : foreign       ? at_most(between_looks)
                                                  : left;
        if (!std::all_of(mine.begin(), mine.end(),
                         [&](AwaitedPort* port) { return port->turn(thread_, each); })) {
            return false;
        }
        if (std::all_of(mine.begin(), mine.end(),
                        [](const AwaitedPort* port) { return port->foreign(); })) {
            thread_.sleep(at_most(between_looks));
        }
        return true;
    }

    const Types& types_;
    Awaited& awaited_;
    std::int64_t timeout_;
    std::optional<std::int64_t> started_;
    std::vector<WaitPlace> places_;
    WaitingThread thread_;
    Routines* routines_{nullptr};  // the thread's own keeps them
    WaitPlace alert_;
    std::list<AwaitedPort> ports_;
    PyObject* last_{nullptr};  // port that was found; borrowed, for comparison alone
};

}  // namespace

Waited wait_for(const Types& types, Awaited& awaited, std::int64_t timeout) {
    return Wait(types, awaited, timeout).wait();
}

bool claimable(PortObject& port) {
    return locked(port, [&] { return !port.closed && port.core->backend().claimable(); });
}

bool take_over(PortObject& port, RunnerHold& hold) {
    if (hold.held() || hold.here()) {
        return hold.held();
    }
    WaitingThread thread;
    port.contenders.fetch_add(1);
    const WaiterOf waiter(port, thread);
    {
        const std::lock_guard lock(Event::mutex());
        port.waiters.notify_all();
    }
    for (;;) {
        thread.look_again();
        if (hold.acquire() || !port.lent.load() || PyErr_CheckSignals() != 0) {
            break;
        }
        thread.sleep(longest_sleep);
    }
    port.contenders.fetch_sub(1);
    return hold.held();
}

bool turn_now(PyObject* self, PortObject& port) {
    if (port.closed) {
        return true;
    }
    if (port.core->shared()) {
        return shared::hand_out_now(self, port);
    }
    RunnerHold hold(port, RunnerHold::For::waiting);
    if (!hold.held() || port.closed) {
        return true;
    }
    if (!claimable(port)) {
        hold.give_up();
        return true;
    }
    const Error error = poll_port(port, port.core->now());
    if (error.fault == Fault::wrong_thread) {
        hold.give_up();
        return true;
    }
    if (error) {
        raise(&port, *port.types, error);
        return false;
    }
    const bool good = dispatch_all(self, port);
    drop_claimed(port);
    return good;
}

}  // namespace iocp::py
