#pragma once

#include <new>

#include "backend/backend.hpp"
#include "core/effects.hpp"

namespace iocp {

// Returns the error that a number of the system's means.
[[nodiscard]] inline Error system_error(const SystemErrors& errors, int code) noexcept {
    return {errors.exhausted(code) ? Fault::resource : Fault::system, code, nullptr};
}

// Calls of the backend for which memory may be lacking. They report the lack like any other answer
// of the system, so that no exception leaves a step of the core half-way.
class Calls {
public:
    Calls(Backend& backend, Worklist& work) noexcept : backend_(backend), work_(work) {}

    // Makes a call that starts or tries something, and returns its outcome.
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
    // Backend::start() and attempt() of `count` operations, from `op` on.
    [[nodiscard]] StartResult start(Operation& op, unsigned count) noexcept {
        return within_memory([&] { return backend_.start(op, count); });
    }
    [[nodiscard]] StartResult attempt(Operation& op, unsigned count) noexcept {
        return within_memory([&] { return backend_.attempt(op, count); });
    }
    // Asks for the end of the request that `op` heads. Without memory to ask, the next turn asks. A
    // lost request ends by itself, and the backend does not know it any more.
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
    // Ends the attempt of a connect whose request ended without an answer. After an error the
    // socket cannot connect again and must be closed.
    [[nodiscard]] int withdraw(Operation& op) noexcept {
        try {
            return backend_.withdraw(op);
        } catch (const std::bad_alloc&) {
            return backend_.memory_code();
        }
    }
    // Makes the close of the descriptor a reset. If the descriptor has other holders, the last
    // close resets the connection: the peer misses data in either case.
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
