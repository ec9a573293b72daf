#pragma once

#include "backend/backend.hpp"
#include "backend/sim/injected_fault.hpp"
#include "backend/sim/transport.hpp"

namespace iocp::sim {

// The system above the transport. The parameters make it like AFD, with buffers and locked pages,
// or like Linux's sockets.
class SocketLayer {
public:
    SocketLayer(Stack& stack, Transport& transport) : stack_(stack), transport_(transport) {}

    // Calls that return an int return the platform's error number, or 0 for success.
    int open(Machine& machine, int type, Handle& out);
    int bind(Endpoint& endpoint, const Name& name);
    int listen(Endpoint& endpoint, int backlog);
    int shutdown(Endpoint& endpoint, bool receiving, bool sending);
    // Closes the handle. Posted data still goes out, unless the close is a reset.
    void close(Endpoint& endpoint);
    bool pair(Machine& machine, Handle& one, Handle& other);
    // Injects the fault. Returns false if the endpoint is not connected.
    bool inject_fault(Endpoint& endpoint, InjectedFault fault);

    StartResult attempt(Endpoint& endpoint, Operation& op, unsigned count);
    StartResult start(Endpoint& endpoint, Operation& op, unsigned count);
    void cancel(Endpoint& endpoint, bool sending);
    StartResult read(Endpoint& endpoint, std::byte* data, std::size_t length);
    [[nodiscard]] static bool readable(const Endpoint& endpoint) noexcept;
    // Returns the packet of a finished request.
    Packet take_packet(Endpoint& endpoint, bool sending);
    // Serves the endpoint after an event or a call: completes its waiting requests, and lets the
    // transport answer. Forgets the endpoint when neither a port nor the connection needs it.
    void look_after(Endpoint& endpoint);

private:
    StartResult receive(Endpoint& endpoint, Operation& op);
    StartResult copy_sends(Endpoint& endpoint, Operation& op, unsigned count);
    StartResult copy_file(Endpoint& endpoint, Operation& op);
    StartResult lock_sends(Endpoint& endpoint, Operation& op, unsigned count);
    StartResult lock_receive(Endpoint& endpoint, Operation& op);
    StartResult accept(Endpoint& endpoint, const Operation& op);
    StartResult connect(Endpoint& endpoint, Operation& op);
    // Makes `request` the operation's waiting request. Fails if the non-paged pool has no room for
    // it.
    StartResult wait(Endpoint& endpoint, const Operation& op, Request& request, bool watch);
    [[nodiscard]] int refusal_of_send(const Endpoint& endpoint) const noexcept;
    [[nodiscard]] std::uint64_t buffered(const Endpoint& endpoint) const noexcept;
    [[nodiscard]] std::uint64_t piece(const Endpoint& endpoint) const noexcept;
    [[nodiscard]] std::size_t room(const Endpoint& endpoint, const Operation& op) const noexcept;
    [[nodiscard]] bool writable(const Endpoint& endpoint) const noexcept;
    [[nodiscard]] std::uint64_t buffer_size(const Endpoint& endpoint) const noexcept;
    [[nodiscard]] std::uint32_t pages_of(const std::byte* data, std::size_t length) const noexcept;
    [[nodiscard]] std::size_t shortened(std::size_t length);
    void consume(Endpoint& endpoint, std::size_t length);
    void fill(Endpoint& endpoint);
    void absorb(Endpoint& endpoint);
    void serve_receiver(Endpoint& endpoint);
    void serve_sender(Endpoint& endpoint);
    void due(Endpoint& endpoint, bool sending, std::int64_t result, bool ready);
    void abandon_listener(Endpoint& endpoint);

    Stack& stack_;
    Transport& transport_;
};

}  // namespace iocp::sim
