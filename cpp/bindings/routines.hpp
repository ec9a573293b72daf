#pragma once

#include <cstdint>
#include <list>

#include "base/process.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/socket_object.hpp"
#include "run/awaited.hpp"

namespace iocp::py {

// The completion routines of one thread (R26): the operations that the thread posted with a
// routine, and those whose routine is due. Any thread that hands over an operation makes its
// routine due. Only the posting thread runs the routine, in an alertable wait. When that thread
// ends, its operations are cancelled and no routine runs any more. The operations keep these
// Routines alive.
class Routines final : public run::Routines {
public:
    // Returns the Routines of the calling thread, which the thread's first call makes. Null: an
    // exception is set.
    static Routines* of_this_thread();

    // Makes the tuple that an operation keeps: the routine, and the capsule of these Routines.
    // Null: an exception is set.
    PyObject* bind(PyObject* routine) const;
    // Enlists an operation before its post. It stays enlisted until the post is refused or the
    // operation is handed over.
    void enlist(OperationObject& op);
    // Removes an enlisted operation. With `due` the operation is over, and its routine becomes due.
    // Without, its post was refused. `bound` is the tuple of bind().
    static void retire(OperationObject& op, PyObject* bound, bool due);

    void find_ports(run::FoundPorts& out) override;
    [[nodiscard]] bool any_due() const override;
    void run_due() override;

private:
    struct Due {
        PyObject* operation;
        PyObject* bound;
    };

    static Routines& of_bound(PyObject* bound) noexcept;
    static void thread_ended(PyObject* sentinel);
    void end();
    [[nodiscard]] std::list<Due> remove(const OperationObject& op) noexcept;

    PyObject* self_{nullptr};  // the capsule that owns these Routines; borrowed
    std::uint32_t fork_generation_{iocp::fork_generation()};
    // Event::mutex() guards the members below and the list of waiters, so that a routine becomes
    // due and notifies the waiters in one step.
    std::list<Due> pending_;  // outstanding operations, borrowed; their `bound` is null
    std::list<Due> due_;  // strong; a routine that becomes due moves its entry here from `pending_`
    bool ended_{false};
};

}  // namespace iocp::py
