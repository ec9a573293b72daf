#include "aio/loop_turn.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "aio/debug_watch.hpp"
#include "aio/handle_object.hpp"
#include "aio/references.hpp"
#include "bindings/held.hpp"
#include "bindings/host.hpp"
#include "bindings/run_port.hpp"
#include "run/calls.hpp"

namespace iocp::aio {

namespace {

using py::Held;

constexpr double never = std::numeric_limits<double>::infinity();

// Marks a turn as under way for the scope. No callback makes a turn inside it: the records in hand
// would meet later ones of the same socket.
class UnderWay {
public:
    explicit UnderWay(LoopState& state) noexcept
        : state_(state), begun_(!state.turning.exchange(true)) {}
    ~UnderWay() {
        if (begun_) {
            state_.asleep = false;
            state_.turning = false;
        }
    }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;

    [[nodiscard]] bool begun() const noexcept { return begun_; }

private:
    LoopState& state_;
    bool begun_;
};

// One turn of a loop. Its steps return false with an exception set.
class LoopTurn {
public:
    LoopTurn(LoopObject& loop, py::PortObject& port)
        : loop_(loop), state_(loop.state), port_(port) {}

    [[nodiscard]] bool make() { return drop_cancelled() && poll() && take_due() && run_ready(); }

private:
    [[nodiscard]] bool drop_cancelled();
    [[nodiscard]] bool drop_all_cancelled();
    [[nodiscard]] bool poll();
    [[nodiscard]] bool wait_time(std::int64_t& nanoseconds);
    [[nodiscard]] bool take_due();
    [[nodiscard]] bool run_ready();
    [[nodiscard]] bool run(PyObject* handle);
    [[nodiscard]] bool hand_out();

    [[nodiscard]] int cancelled(PyObject* handle) const;
    [[nodiscard]] bool unschedule(PyObject* handle) const;

    LoopObject& loop_;
    LoopState& state_;
    py::PortObject& port_;
    py::DropHost host_;
};

// Returns whether a handle is cancelled; negative: an exception is set.
int LoopTurn::cancelled(PyObject* handle) const {
    if (is_native(loop_, handle)) {
        return handle_of(handle).cancelled ? 1 : 0;
    }
    return attaching([handle] {
        const Held value(PyObject_GetAttrString(handle, "_cancelled"));
        return value.get() != nullptr ? PyObject_IsTrue(value.get()) : -1;
    });
}

// Notes that a timer has left the heap. One of ours notes it under the lock instead.
bool LoopTurn::unschedule(PyObject* handle) const {
    return is_native(loop_, handle) || attaching([handle] {
               return PyObject_SetAttrString(handle, "_scheduled", Py_False) == 0;
           });
}

// Drops the cancelled timers in front, or all of them if most are.
bool LoopTurn::drop_cancelled() {
    for (;;) {
        PyObject* borrowed = nullptr;
        bool many = false;
        {
            const std::lock_guard guard(state_.mutex);
            if (state_.timers.empty() || state_.timers.cancelled() == 0) {
                return true;
            }
            many = state_.timers.mostly_cancelled();
            borrowed = Py_NewRef(state_.timers.first());
        }
        const Held first(borrowed);
        if (many) {
            return drop_all_cancelled();
        }
        const int gone = cancelled(first.get());
        if (gone <= 0) {
            return gone == 0;
        }
        PyObject* taken = nullptr;
        {
            const std::lock_guard guard(state_.mutex);
            if (!state_.timers.empty() && state_.timers.first() == first.get()) {
                taken = take_first_timer(loop_);
                if (!is_native(loop_, taken)) {
                    state_.timers.remove_cancelled();
                }
            }
        }
        if (const Held timer(taken); taken != nullptr && !unschedule(taken)) {
            return false;
        }
    }
}

// Asks the timers of asyncio's own before the pass, because that may run any code.
bool LoopTurn::drop_all_cancelled() {
    References all;
    {
        const std::lock_guard guard(state_.mutex);
        all.make_room(state_.timers.size());
        state_.timers.copy_to(all.objects());
    }
    std::vector<PyObject*> gone;
    gone.reserve(all.objects().size());
    for (PyObject* handle : all.objects()) {
        const int answer = cancelled(handle);
        if (answer < 0) {
            return false;
        }
        if (answer > 0) {
            gone.push_back(handle);
        }
    }
    std::sort(gone.begin(), gone.end());
    References dropped;
    {
        const std::lock_guard guard(state_.mutex);
        state_.timers.remove_if(
            [&](PyObject* handle) { return std::binary_search(gone.begin(), gone.end(), handle); },
            dropped.objects());
        for (PyObject* handle : dropped.objects()) {
            note_unscheduled(loop_, handle);
        }
    }
    return std::all_of(dropped.objects().begin(), dropped.objects().end(),
                       [this](PyObject* handle) { return unschedule(handle); });
}

// Says how long the poll may wait: not at all if something is ready, else until the first timer is
// due. Marks a loop that is about to wait as asleep, so that a push wakes it.
bool LoopTurn::wait_time(std::int64_t& nanoseconds) {
    nanoseconds = 0;
    double first = never;
    {
        const std::lock_guard guard(state_.mutex);
        if (!state_.ready.empty() || state_.stopping) {
            return true;
        }
        first = state_.timers.empty() ? never : state_.timers.first_due();
    }
    std::int64_t wait = -1;
    if (first != never) {
        double now = 0;
        if (!ask_time(loop_, now)) {
            return false;
        }
        // Rounded up: a wait that ends before its timer would be made again.
        const double left = std::ceil((first - now) * 1e9);
        constexpr double longest = 86400e9;  // asyncio's
        wait = left > 0 ? static_cast<std::int64_t>(std::min(left, longest)) : 0;
    }
    const std::lock_guard guard(state_.mutex);
    if (state_.ready.empty() && wait != 0) {
        state_.asleep = true;
        nanoseconds = wait;
    }
    return true;
}

// Makes a turn of the port, and gives its records a place behind the handles that are ready.
bool LoopTurn::poll() {
    std::int64_t nanoseconds = 0;
    if (!wait_time(nanoseconds)) {
        return false;
    }
    run::Ran ran;
    const bool made = py::attempted([&] { ran = run::make_turn(host_, port_, nanoseconds); });
    state_.asleep = false;
    if (!made || !py::succeeded(port_, ran)) {
        return false;
    }
    if (ran.count != 0) {
        const std::lock_guard guard(state_.mutex);
        if (!state_.ready.has_records()) {
            state_.ready.make_room();
            state_.ready.push_records();
        }
    }
    return true;
}

// Moves the timers that are due behind the records.
bool LoopTurn::take_due() {
    {
        const std::lock_guard guard(state_.mutex);
        if (state_.timers.empty()) {
            return true;
        }
    }
    double end = 0;
    if (!ask_time(loop_, end)) {
        return false;
    }
    end += state_.clock_resolution;
    for (;;) {
        PyObject* taken = nullptr;
        {
            const std::lock_guard guard(state_.mutex);
            if (state_.timers.empty() || state_.timers.first_due() >= end) {
                return true;
            }
            state_.ready.make_room();
            taken = take_first_timer(loop_);
            state_.ready.push(Py_NewRef(taken));
        }
        if (const Held timer(taken); !unschedule(taken)) {
            return false;
        }
    }
}

// Runs as many entries as there are now. A callback may clear the queue.
bool LoopTurn::run_ready() {
    std::size_t left = 0;
    {
        const std::lock_guard guard(state_.mutex);
        left = state_.ready.size();
    }
    for (; left != 0; --left) {
        PyObject* taken = nullptr;
        {
            const std::lock_guard guard(state_.mutex);
            if (state_.ready.empty()) {
                return true;
            }
            taken = state_.ready.records_first() ? nullptr : state_.ready.take();
        }
        if (taken == nullptr) {
            if (!hand_out()) {
                return false;
            }
            continue;
        }
        const Held handle(taken);
        if (!run(taken)) {
            return false;
        }
    }
    return true;
}

bool LoopTurn::run(PyObject* handle) {
    const bool native = is_native(loop_, handle);
    if (const int gone = cancelled(handle); gone != 0) {
        return gone > 0;
    }
    if (state_.debugging) {
        const Held result(attaching([&] {
            return PyObject_CallMethod(reinterpret_cast<PyObject*>(&loop_), "_run_in_debug", "O",
                                       handle);
        }));
        return result.get() != nullptr;
    }
    if (native) {
        return run_handle(handle_of(handle));
    }
    const Held result(attaching([handle] { return PyObject_CallMethod(handle, "_run", nullptr); }));
    return result.get() != nullptr;
}

// Hands out the records. Their place stays until the last of them was handed out.
bool LoopTurn::hand_out() {
    run::Ran ran;
    bool made = false;
    {
        const DebugWatch watch(loop_, port_);
        made = py::attempted([&] { ran = run::hand_out(host_, port_); });
    }
    if (port_.inbox.empty()) {
        const std::lock_guard guard(state_.mutex);
        if (state_.ready.records_first()) {
            (void)state_.ready.take();
        }
    }
    return made && py::succeeded(port_, ran);
}

}  // namespace

PyObject* run_once_method(PyObject* self, PyObject* /*unused*/) {
    LoopObject& loop = loop_of(self);
    const UnderWay turn(loop.state);
    if (!turn.begun()) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return nullptr;
    }
    if (loop.port == nullptr) {
        return refuse_closed();
    }
    if (!py::usable(*loop.port) || !LoopTurn(loop, *loop.port).make()) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

}  // namespace iocp::aio
