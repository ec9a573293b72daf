#include "bindings/routines.hpp"

#include <algorithm>
#include <memory>

#include "bindings/held.hpp"

namespace iocp::py {

namespace {

constexpr const char* queue_name = "iocp_sock.routines";
constexpr const char* sentinel_name = "iocp_sock.routines.thread";

Routines& of_capsule(PyObject* capsule) noexcept {
    return *static_cast<Routines*>(PyCapsule_GetPointer(capsule, queue_name));
}

}  // namespace

// The thread's own dictionary keeps a sentinel, which goes when the thread ends, on that thread. A
// forked child leaves its parent's queue alone.
Routines* Routines::of_this_thread() {
    PyObject* dictionary = PyThreadState_GetDict();
    if (dictionary == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "this thread has no state to keep routines in");
        return nullptr;
    }
    // A look that finds no memory for its key must not take the queue for missing: a new one would
    // replace it, and what the thread has posted would be cancelled.
    const Held key(PyUnicode_InternFromString(sentinel_name));
    if (key.get() == nullptr) {
        return nullptr;
    }
    PyObject* sentinel = PyDict_GetItemWithError(dictionary, key.get());
    if (sentinel == nullptr && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    if (sentinel != nullptr) {
        auto* queue = static_cast<PyObject*>(PyCapsule_GetPointer(sentinel, sentinel_name));
        Routines& routines = of_capsule(queue);
        if (routines.fork_generation_ == iocp::fork_generation()) {
            return &routines;
        }
    }
    auto routines = std::make_unique<Routines>();
    PyObject* queue = PyCapsule_New(routines.get(), queue_name,
                                    [](PyObject* capsule) { delete &of_capsule(capsule); });
    if (queue == nullptr) {
        return nullptr;
    }
    Routines* made = routines.release();
    made->self_ = queue;
    sentinel = PyCapsule_New(queue, sentinel_name, thread_ended);
    if (sentinel == nullptr) {
        Py_DECREF(queue);
        return nullptr;
    }
    const int kept = PyDict_SetItem(dictionary, key.get(), sentinel);
    Py_DECREF(sentinel);  // where it was not kept, the queue goes with it
    return kept == 0 ? made : nullptr;
}

void Routines::thread_ended(PyObject* sentinel) {
    auto* queue = static_cast<PyObject*>(PyCapsule_GetPointer(sentinel, sentinel_name));
    Routines& routines = of_capsule(queue);
    if (routines.fork_generation_ == iocp::fork_generation()) {
        routines.end();
    }
    Py_DECREF(queue);
}

// What the thread posted with a routine is cancelled, and no routine is run any more.
void Routines::end() {
    std::list<Due> pending;
    std::list<Due> due;
    {
        const std::lock_guard lock(Event::mutex());
        ended_ = true;
        pending.swap(pending_);
        for (const Due& one : pending) {
            Py_INCREF(one.operation);
        }
        due.swap(due_);
    }
    for (const Due& one : pending) {
        auto* op = reinterpret_cast<OperationObject*>(one.operation);
        PortObject& port = *op->socket->binding;
        if (!port.closed && !port.forked()) {
            locked(port, [&] {
                Operation* core = op->core.get();
                return core != nullptr && port.core->cancel(*core);
            });
        }
        Py_DECREF(one.operation);
    }
    for (const Due& one : due) {
        Py_DECREF(one.operation);
        Py_DECREF(one.bound);
    }
}

PyObject* Routines::bind(PyObject* routine) const { return PyTuple_Pack(2, routine, self_); }

Routines& Routines::of_bound(PyObject* bound) noexcept {
    return of_capsule(PyTuple_GET_ITEM(bound, 1));
}

void Routines::enlist(OperationObject& op) {
    const std::lock_guard lock(Event::mutex());
    pending_.push_back({reinterpret_cast<PyObject*>(&op), nullptr});
}

// Its place, if it had one.
std::list<Routines::Due> Routines::remove(const OperationObject& op) noexcept {
    std::list<Due> place;
    const auto found = std::find_if(pending_.begin(), pending_.end(), [&op](const Due& one) {
        return one.operation == reinterpret_cast<const PyObject*>(&op);
    });
    if (found != pending_.end()) {
        place.splice(place.end(), pending_, found);
    }
    return place;
}

void Routines::retire(OperationObject& op, PyObject* bound, bool due) {
    Routines& routines = of_bound(bound);
    const std::lock_guard lock(Event::mutex());
    std::list<Due> place = routines.remove(op);
    if (due && !place.empty()) {
        place.front() = {Py_NewRef(reinterpret_cast<PyObject*>(&op)), Py_NewRef(bound)};
        routines.due_.splice(routines.due_.end(), place);
        routines.waiters.notify_all();
    }
}

bool Routines::any_due() const {
    const std::lock_guard lock(Event::mutex());
    return !due_.empty();
}

bool Routines::run_due() {
    std::size_t count = 0;
    {
        const std::lock_guard lock(Event::mutex());
        count = due_.size();  // what becomes due meanwhile is for the next wait
    }
    for (; count != 0; --count) {
        Due one{};
        {
            const std::lock_guard lock(Event::mutex());
            if (due_.empty()) {
                break;  // a wait inside a routine has run the rest
            }
            one = due_.front();
            due_.pop_front();
        }
        auto& op = *reinterpret_cast<OperationObject*>(one.operation);
        PyObject* error = error_of(op);
        PyObject* routine = PyTuple_GET_ITEM(one.bound, 0);
        PyObject* result = error == nullptr ? nullptr : attaching([&] {
            return PyObject_CallFunction(routine, "OnOi", error, op.transferred, one.operation,
                                         op.flags);
        });
        Py_XDECREF(error);
        Py_DECREF(one.operation);
        Py_DECREF(one.bound);
        if (result == nullptr) {
            return false;
        }
        Py_DECREF(result);
    }
    return true;
}

}  // namespace iocp::py
