// Operation.result(): what WSAGetOverlappedResult is to an OVERLAPPED.
#include <cerrno>

#include "bindings/arguments.hpp"
#include "bindings/waiting.hpp"

namespace iocp::py {

namespace {

// While it stands, the operation's Completion goes to nobody else; for good once it was kept.
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

bool any_unclaimed(PortObject& port) {
    const std::lock_guard guard(port.links_mutex);
    return !port.unclaimed.empty();
}

bool await(const Types& types, OperationObject& op, std::int64_t timeout) {
    if (!usable(*op.socket->binding)) {
        return false;
    }
    Awaited awaited;
    awaited.operation = &op;
    switch (wait_for(types, awaited, timeout)) {
        case Waited::met:
            return true;
        case Waited::timed_out:
            raise(types, ErrorClass::still_pending, EINPROGRESS,
                  "the operation has not finished yet; nothing of it was cancelled");
            return false;
        case Waited::routines_ran:  // not alertable
        case Waited::failed:
            break;
    }
    return false;
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
    // What is left of it in the port would stay there if nobody ever ran it.
    if (op.tells == Tells::port && !port.closed && !port.forked() &&
        (op.core.linked() || any_unclaimed(port)) && !turn_now(op.socket->port, port)) {
        return nullptr;
    }
    // An exception of this call's own: to raise one writes to it, and other threads may be in here.
    if (op.settled.load(std::memory_order_acquire) && op.failure) {
        return raise(&port, types, op.failure);
    }
    return Py_BuildValue("nl", op.transferred, static_cast<long>(op.flags));
}

}  // namespace iocp::py
