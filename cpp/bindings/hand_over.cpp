// Moves the results of finished operations to their Python objects. Some operations are handed out
// by a turn. The others are notified completions (of events and routines), which any attached
// thread may take.
#include "bindings/hand_over.hpp"

#include <algorithm>

#include "bindings/event_object.hpp"
#include "bindings/links.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/routines.hpp"

namespace iocp::py {

// Called by the core with the port's lock held, so this function never calls Python. An operation
// with an event or a routine stays linked to its port until it is handed over. A subscription may
// have lost its Python object, and has neither an event nor a routine.
bool PortObject::finished(Operation& operation) noexcept {
    const std::lock_guard lock(Event::mutex());
    waiters.notify_all_locked();
    if (operation.subscription() || operation.user == nullptr) {
        return false;
    }
    const auto* op = static_cast<const OperationObject*>(operation.user);
    if (op->recipient == Recipient::port) {
        return false;
    }
    if (op->recipient == Recipient::event && op->callback != nullptr) {
        event_of(*op->callback).event.finish_locked();
    }
    return true;
}

void conclude(PortObject& port, Operation& core, OperationObject* op) {
    if (op != nullptr) {
        settle(*op);
    }
    cut_from_core<OperationObject>(port, core);
    if (core.accepted != nullptr) {
        // The operation has lost its Python object, so the program could never get the connection.
        locked(port, [&] {
            port.core->sockets().refuse(*core.accepted);
            return 0;
        });
    }
    core.lease.give_back();
}

Py_ssize_t hand_over(PortObject& port) {
    Operation* const finished = locked(port, [&port] { return port.core->take_notified(); });
    Py_ssize_t count = 0;
    for (Operation* core = finished; core != nullptr; core = core->next_finished) {
        ++count;
        auto* op = object_of<OperationObject>(port, core->user);
        conclude(port, *core, op);
        if (op == nullptr) {
            continue;
        }
        PyObject* told = replaced(port, op->callback, nullptr);
        if (told != nullptr && op->recipient == Recipient::event) {
            event_of(*told).event.forget_port();
        } else if (told != nullptr) {
            Routines::retire(*op, told, true);
        }
        Py_XDECREF(told);
        give_up(port, port.operations, *op);
        Py_DECREF(reinterpret_cast<PyObject*>(op));
    }
    if (finished != nullptr) {
        locked(port, [&] {
            for (Operation* core = finished; core != nullptr;) {
                port.core->operations().retire_notified(*std::exchange(core, core->next_finished));
            }
            return 0;
        });
    }
    return count;
}

void drop_claimed(PortObject& port) {
    std::vector<PyObject*> claimed;
    {
        const std::lock_guard guard(port.links_mutex);
        auto& kept = port.unclaimed;
        const auto first = std::stable_partition(kept.begin(), kept.end(), [](PyObject* object) {
            auto* op = reinterpret_cast<CompletionObject*>(object)->operation;
            return op == nullptr || reinterpret_cast<OperationObject*>(op)->claims.load() == 0;
        });
        claimed.assign(first, kept.end());
        kept.erase(first, kept.end());
    }
    for (PyObject* completion : claimed) {
        Py_DECREF(completion);
    }
}

}  // namespace iocp::py
