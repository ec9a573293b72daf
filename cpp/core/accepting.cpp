#include "core/accepting.hpp"

#include <new>
#include <utility>

namespace iocp {

namespace {

constexpr unsigned accepts_per_turn = 64;

}  // namespace

void Accepting::start(Socket& listener, Operation& op) {
    if (!Standing::startable(listener, op)) {
        return;
    }
    for (unsigned i = 0; i < accepts_per_turn && completions_.reserve(1); ++i) {
        if (at_cap(op)) {
            return;
        }
        const StartResult result = ask(op);
        if (result.start == Start::pending) {
            listener.receiving.started = 1;
            return;
        }
        if (result.start == Start::failed) {
            standing_.fail_item(listener, op, static_cast<int>(result.value));
            if (op.finished() || op.paused) {
                return;
            }
            continue;
        }
        Ready ready;
        ready.what = Ready::What::accepted;
        ready.socket = &listener;
        ready.op = &op;
        ready.accepted = sockets_.accepted(listener, result.accepted);
        if (ready.accepted == nullptr) {
            standing_.report(listener, op, no_socket);
            standing_.pause(op);
            return;
        }
        ready.accepted->capped = true;
        ready.slice = BufferPool::copy(peer_.address.bytes.data(), peer_.address.length);
        ++connections_;
        completions_.push(std::move(ready));
    }
    standing_.later(listener);
}

// Makes an accept that also asks for the peer's address: the system names no peer of a connection
// that was reset before. Every accept of a subscription is made during the call.
StartResult Accepting::ask(Operation& op) noexcept {
    peer_.address.length = 0;
    op.lease.data = reinterpret_cast<std::byte*>(&peer_);
    op.is_message = true;
    const StartResult result = sockets_.start_accept(op);
    op.lease.data = nullptr;
    op.is_message = false;
    return result;
}

void Accepting::complete(Socket& listener, Operation& op, const Packet& packet) noexcept {
    const auto code = static_cast<int>(-packet.result);
    if (op.cancel_requested) {
        cancels_.finish_cancelled(listener.receiving);
    } else if (packet.result < 0 && !errors_.cancelled(code)) {
        standing_.fail_item(listener, op, code);
    }
    // Any other packet means that a connection waits, or that the system itself ended the request.
    // Nothing more is to do for it, because the caller then starts the accept again.
}

// Returns whether the port has its maximum of connections. If so, further connections wait in the
// listener's backlog, and the subscription pauses until a connection closes.
bool Accepting::at_cap(Operation& op) noexcept {
    if (options_.caps.max_connections == 0 || connections_ < options_.caps.max_connections) {
        return false;
    }
    try {
        capped_.push_back(op.id);
        op.paused = true;
    } catch (const std::bad_alloc&) {
        standing_.later(*op.socket);  // the next turn checks the cap again
    }
    return true;
}

void Accepting::closed(Socket& socket) noexcept {
    if (!socket.capped) {
        return;
    }
    socket.capped = false;
    --connections_;
    for (const SlotId id : std::exchange(capped_, {})) {
        Operation* op = operations_.find(id);
        if (op != nullptr && op->paused && !op->finished()) {
            op->paused = false;
            standing_.later(*op->socket);
        }
    }
}

}  // namespace iocp
