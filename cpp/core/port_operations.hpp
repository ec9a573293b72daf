#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "core/turn.hpp"

namespace iocp {

// The application's calls on operations, and on the memory that it registers for them. Each call
// hands its work to one part of the port, and applies the effects that the part leaves. Every
// member needs the port's lock, unless it says otherwise.
class PortOperations {
public:
    PortOperations(Parts& parts, Turn& turn) noexcept : parts_(parts), turn_(turn) {}
    PortOperations(const PortOperations&) = delete;
    PortOperations& operator=(const PortOperations&) = delete;

    // create() makes an operation in a free slot, or returns null without memory. submit() accepts
    // it, or returns an error; the caller must then discard() it. A negative timeout means none. If
    // submit() leaves the operation `silent`, it has finished and is not handed out: the caller
    // must retire it before it drops the lock.
    [[nodiscard]] Operation* create(Socket& socket, OperationKind kind) noexcept {
        return parts_.queue.create(socket, kind);
    }
    Error submit(Operation& op, std::int64_t timeout = -1);
    void discard(Operation& op) noexcept {
        assert(op.state.load(std::memory_order_relaxed) == State::idle);
        parts_.operations.give_back(op);
    }
    // Cancels the operation. Returns false if it has finished or was cancelled before.
    bool cancel(Operation& op);
    // Cancels every operation of the socket, and returns their number.
    unsigned cancel_all(Socket& socket);
    // Receive or send without waiting. They do nothing if an earlier post in the same direction is
    // unfinished. `got` is -1 if nothing was received, and 0 at the end of the stream. `went` is
    // the number of bytes sent.
    Error try_receive(Socket& socket, std::byte* data, std::size_t length, std::int64_t& got);
    Error try_send(Socket& socket, const std::byte* data, std::size_t length, std::int64_t& went);

    // Queues a packet of the application, as a record with its `user`.
    Error post_packet(void* user);

    // Adds bytes to the last send of an open socket (SendFlow::append()).
    [[nodiscard]] bool append(Socket& socket, const std::byte* data, std::size_t length);

    // Notes that the completion of an operation is handed out. Needed only if observed(), which
    // needs no lock.
    void handed_out(const Operation& op) noexcept { parts_.metrics.handed_out(op); }
    [[nodiscard]] bool observed() const noexcept { return parts_.metrics.observed(); }
    // Free the slot of a finished operation whose lease was given back. retire() is for an
    // operation whose record was handed out, retire_notified() for one that Port::take_notified()
    // returned.
    void retire(Operation& op) noexcept {
        assert(op.finished() && op.socket != nullptr);
        parts_.queue.retire(op);
    }
    void retire_notified(Operation& op) noexcept {
        assert(op.finished() && op.socket == nullptr);
        parts_.queue.retire_notified(op);
    }

    // Allocates at least `bytes` of zeroed, page-aligned memory and registers it with the kernel.
    Error register_memory(std::size_t bytes, std::byte*& out);
    // Gives back memory that register_memory() made. Precondition: no operation uses the memory.
    void unregister(std::byte* data);

    // Returns the operation with this id, or null if it is retired.
    [[nodiscard]] Operation* find(SlotId id) noexcept { return parts_.operations.find(id); }
    [[nodiscard]] SlotTable<Operation>& table() noexcept { return parts_.operations; }
    // Returns the number of accepted operations that are not retired.
    [[nodiscard]] std::size_t outstanding() const noexcept { return parts_.queue.outstanding(); }

private:
    Parts& parts_;
    Turn& turn_;
};

}  // namespace iocp
