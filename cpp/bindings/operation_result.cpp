// Implements Operation.result(), which corresponds to WSAGetOverlappedResult.
#include <cerrno>

#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/host.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace {

// Keeps get() from returning the operation's Completion: until the scope ends, or for good after
// keep().
class Claim {
public:
    explicit Claim(OperationObject& op) noexcept : op_(op) { op_.claims.fetch_add(1); }
    ~Claim() {
        if (!kept_) {
            op_.claims.fetch_sub(1);
        }
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

    void keep() noexcept { kept_ = true; }

private:
    OperationObject& op_;
    bool kept_{false};
};

// The end of an operation, as the condition that a thread waits for.
class AwaitedResult final : public run::AwaitedOperation {
public:
    explicit AwaitedResult(OperationObject& op) noexcept
        : AwaitedOperation(*op.socket->binding), op_(op) {}

protected:
    Operation* operation() noexcept override { return op_.core.get(); }
    bool done() override { return is_done(op_); }

private:
    OperationObject& op_;
};

bool any_unclaimed(PortObject& port) {
    const std::lock_guard guard(port.links_mutex);
    return !port.unclaimed.empty();
}

bool await(const Types& types, OperationObject& op, std::int64_t timeout) {
    if (!usable(*op.socket->binding)) {
        return false;
    }
    AwaitedResult awaited(op);
    switch (wait_for(types, awaited, false, timeout)) {
        case Waited::met:
            return true;
        case Waited::timed_out:
            raise(types, ErrorClass::still_pending, EINPROGRESS,
                  "the operation has not finished; it goes on, so ask again later or wait longer");
            return false;
        case Waited::routines_ran:  // not alertable
        case Waited::failed:
            break;
    }
    return false;
}

// Hands out the ready records, if this thread may run the port. False: an exception is set.
bool turn_now(PortObject& port) {
    KeepHost host(true);
    Error error;
    if (!attempted([&] { error = run::turn_now(host, port); })) {
        return false;
    }
    if (error) {
        raise(&port, *port.types, error);
    }
    return !error;
}

}  // namespace

PyObject* operation_result(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords) {
    static constexpr Signature<2> signature{"result", {"wait", "timeout"}, 2, 0};
    auto& op = *reinterpret_cast<OperationObject*>(self);
    PortObject& port = *op.socket->binding;
    const Types& types = *port.types;
    std::array<PyObject*, 2> arguments{};
    std::int64_t timeout = -1;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_timeout(types, arguments[1], timeout)) {
        return nullptr;
    }
    const int wait = arguments[0] != nullptr ? PyObject_IsTrue(arguments[0]) : 1;
    if (wait < 0) {
        return nullptr;
    }
    Claim claim(op);
    if (!is_done(op) && !await(types, op, wait != 0 ? timeout : 0)) {
        return nullptr;
    }
    claim.keep();
    // Makes a turn to hand out the operation's record, which would otherwise stay in a port that no
    // thread runs.
    if (op.recipient == Recipient::port && !port.closed && !port.forked() &&
        (op.core.linked() || any_unclaimed(port)) && !turn_now(port)) {
        return nullptr;
    }
    // Makes a new exception for each call, because raising an exception writes to it, and other
    // threads may call result() too.
    if (op.settled.load(std::memory_order_acquire) && op.failure) {
        return raise(&port, types, op.failure);
    }
    return Py_BuildValue("nl", op.transferred, static_cast<long>(op.flags));
}

}  // namespace iocp::py
