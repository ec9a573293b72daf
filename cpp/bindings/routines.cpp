#include "bindings/routines.hpp"

#include <algorithm>
#include <memory>

#include "base/process.hpp"
#include "bindings/held.hpp"
#include "bindings/host.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

namespace {

constexpr const char* queue_name = "iocp_sock.routines";
constexpr const char* sentinel_name = "iocp_sock.routines.thread";

Routines& of_capsule(PyObject* capsule) noexcept {
    return *static_cast<Routines*>(PyCapsule_GetPointer(capsule, queue_name));
}

}  // namespace

// Makes the Routines (the "queue" below) at the thread's first call. The thread's dictionary keeps
// a sentinel, which the thread destroys as it ends. A forked child leaves its parent's queue alone.
Routines* Routines::of_this_thread() {
    PyObject* dictionary = PyThreadState_GetDict();
    if (dictionary == nullptr) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this thread has no Python thread state, which completion routines need; "
                        "post them from a Python thread");
        return nullptr;
    }
    // Makes the key by itself, because PyDict_GetItemString() reports a lack of memory for the key
    // as a missing queue. A second queue would replace the first, and so cancel the thread's
    // operations.
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
    Py_DECREF(sentinel);  // if the dictionary did not keep it, this drops the queue too
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

// Runs as the thread ends: cancels the operations that it posted with a routine. No routine of the
// thread runs any more.
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
                return core != nullptr && port.core->operations().cancel(*core);
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

// Removes the operation's entry from the list of outstanding operations. Returns a list with the
// entry, or an empty one if there was none.
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

void Routines::find_ports(run::FoundPorts& out) {
    const std::lock_guard lock(Event::mutex());
    for (const Due& one : pending_) {
        out.add(*reinterpret_cast<OperationObject*>(one.operation)->socket->binding);
    }
}

void Routines::run_due() {
    std::size_t count = 0;
    {
        const std::lock_guard lock(Event::mutex());
        count = due_.size();  // routines that become due meanwhile run in the next wait
    }
    for (; count != 0; --count) {
        Due one{};
        {
            const std::lock_guard lock(Event::mutex());
            if (due_.empty()) {
                break;  // a wait inside a routine ran the rest
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
            throw Raised();
        }
        Py_DECREF(result);
    }
}

}  // namespace iocp::py
