#include "core/standing.hpp"

namespace iocp {

namespace {

// How long a subscription pauses after errors before it is tried again, in nanoseconds.
constexpr std::int64_t refusal_pause = 100'000'000;

}  // namespace

void Standing::fail_item(Socket& socket, Operation& op, int code) noexcept {
    const Error error = calls_.error(code);
    if (errors_.fatal(op, code)) {
        fail(socket, op, error);
        return;
    }
    report(socket, op, error);
    if (error.fault == Fault::resource) {
        pause(op);
    }
}

void Standing::report(Socket& socket, Operation& op, Error error) noexcept {
    Ready ready;
    ready.what = Ready::What::item_error;
    ready.socket = &socket;
    ready.op = &op;
    ready.error = error;
    completions_.push(std::move(ready));
}

void Standing::pause(Operation& op) noexcept {
    op.deadline = timers_.arm(refusal_pause, TimerKind::subscription_retry, &op);
    op.paused = op.deadline != nullptr;
    if (!op.paused) {
        later(*op.socket);
    }
}

}  // namespace iocp
