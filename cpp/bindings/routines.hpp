#pragma once

#include <cstdint>
#include <list>

#include "bindings/objects.hpp"

namespace iocp::py {

// The completion routines of one thread (R26): the operations that it posted with one, and those
// whose routine is due. Whoever hands over an operation makes its routine due; only the thread
// itself runs it, in an alertable wait. Operations keep it alive; the thread's end ends it.
class Routines {
public:
    // The calling thread's, made when it is first asked for. Null with an exception set.
    static Routines* of_this_thread();

    // What an operation keeps of its routine: a tuple. Null with an exception set.
    PyObject* bind(PyObject* routine) const;
    // From the post, before it is made, until the operation was refused or is handed over.
    void enlist(OperationObject& op);
    // The operation was refused, or is over; `bound` is what bind() made. Due: it is over.
    static void retire(OperationObject& op, PyObject* bound, bool due);

    [[nodiscard]] bool any_due() const;
    // Runs those that are due now. False: one raised, and the rest stays.
    bool run_due();
    // With the events' lock held: the ports whose turns can make one due.
    template <class Visit>
    void each_port(Visit&& visit) const {
        for (const Due& one : pending_) {
            visit(reinterpret_cast<OperationObject*>(one.operation)->socket->port);
        }
    }

    WaiterList waiters;  // the thread's own alertable waits

private:
    struct Due {
        PyObject* operation;
        PyObject* bound;
    };

    static Routines& of_bound(PyObject* bound) noexcept;
    static void thread_ended(PyObject* sentinel);
    void end();
    [[nodiscard]] std::list<Due> remove(const OperationObject& op) noexcept;

    PyObject* self_{nullptr};  // the capsule that owns it; borrowed
    std::uint32_t fork_generation_{iocp::fork_generation()};
    // Guarded by the events' lock.
    std::list<Due> pending_;  // borrowed operations, linked to their ports meanwhile; nothing bound
    std::list<Due> due_;  // strong; a routine that falls due brings its place from the other list
    bool ended_{false};
};

}  // namespace iocp::py
