#pragma once

#include <new>

#include "backend/backend.hpp"
#include "core/effects.hpp"

namespace iocp {

// Returns the Error for an error number of the system.
[[nodiscard]] inline Error system_error(const SystemErrors& errors, int code) noexcept {
    return {errors.exhausted(code) ? Fault::resource : Fault::system, code, nullptr};
}

// Makes calls of the backend that may run out of memory. A call that starts or tries something
// reports the lack like any other error of the system, so that no exception leaves a step of the
// core half-way.
class Calls {
public:
    Calls(Backend& backend, Worklist& work) noexcept : backend_(backend), work_(work) {}

    // Makes a call that starts or tries something, and returns its result. A std::bad_alloc becomes
    // a failed result.
    template <class Call>
    [[nodiscard]] StartResult within_memory(Call&& call) noexcept {
        try {
            return call();
        } catch (const std::bad_alloc&) {
            return lacks_memory();
        }
    }
    [[nodiscard]] StartResult lacks_memory() const noexcept {
        return {Start::failed, backend_.memory_code()};
    }
    // Call Backend::start() or attempt() for `count` operations of a lane, from `op` on.
    [[nodiscard]] StartResult start(Operation& op, unsigned count) noexcept {
        return within_memory([&] { return backend_.start(op, count); });
    }
    [[nodiscard]] StartResult attempt(Operation& op, unsigned count) noexcept {
        return within_memory([&] { return backend_.attempt(op, count); });
    }
    // Asks the backend to cancel the request whose first operation is `op`. Without memory for
    // that, the next turn asks. A lost request needs no cancel: it has ended with its thread, and
    // the backend no longer knows it.
    void cancel(Operation& op) noexcept {
        if (op.socket->lane_of(op).lost != 0) {
            return;
        }
        try {
            backend_.cancel(op);
        } catch (const std::bad_alloc&) {
            work_.remind();
        }
    }
    [[nodiscard]] Error error(int code) const noexcept { return system_error(backend_, code); }
    // Makes the system give up a connection attempt whose request ended without a result, such as
    // by a cancel. Returns 0 or an error number. If it returns an error, the socket cannot connect
    // again and must be closed.
    [[nodiscard]] int withdraw(Operation& op) noexcept {
        try {
            return backend_.withdraw(op);
        } catch (const std::bad_alloc&) {
            return backend_.memory_code();
        }
    }
    // Makes the close of the descriptor reset the connection. If the open file has other holders,
    // the reset comes with the last close. That is right too, because the peer misses data in
    // either case.
    void reset(Socket& socket) {
        if (!socket.resetting) {
            backend_.reset_on_close(socket);
        }
        socket.resetting = true;
    }
    // Closes a handle that never became a socket of this port.
    void close_unused(Handle handle) {
        Socket unused;
        unused.handle = handle;
        backend_.close(unused);
    }

private:
    Backend& backend_;
    Worklist& work_;
};

}  // namespace iocp
