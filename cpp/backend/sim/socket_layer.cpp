// The socket layer: how sockets open, bind, connect and close, and the requests that wait for them.
#include "backend/sim/socket_layer.hpp"

#include <algorithm>

#include "backend/families.hpp"
#include "backend/sim/codes.hpp"
#include "backend/system_error.hpp"

namespace iocp::sim {

namespace {

StartResult failed(int code) noexcept { return {Start::failed, code}; }

}  // namespace

int SocketLayer::open(Machine& machine, int type, Handle& out) {
    if (type != type_stream) {
        return code_not_here;
    }
    Endpoint* endpoint = stack_.add_endpoint(machine);
    if (endpoint == nullptr) {
        return code_no_buffers;
    }
    endpoint->owned = true;
    out = endpoint->handle();
    return 0;
}

int SocketLayer::bind(Endpoint& endpoint, const Name& name) {
    if (endpoint.bound || endpoint.stage != Stage::idle) {
        return code_invalid;
    }
    const Name wanted = name.port == 0 ? stack_.free_name(name.address) : name;
    if (stack_.names.contains(wanted)) {
        return code_in_use;
    }
    stack_.names.emplace(wanted, endpoint.id);
    endpoint.local = endpoint.bound_name = wanted;
    endpoint.bound = true;
    return 0;
}

int SocketLayer::listen(Endpoint& endpoint, int backlog) {
    if (endpoint.stage != Stage::idle && endpoint.stage != Stage::listening) {
        return code_invalid;
    }
    if (!endpoint.bound) {
        (void)bind(endpoint, {});
    }
    if (endpoint.listening == nullptr) {
        endpoint.listening = std::make_unique<Listening>();
    }
    endpoint.listening->backlog = static_cast<std::size_t>(std::max(backlog, 0));
    endpoint.stage = Stage::listening;
    return 0;
}

int SocketLayer::shutdown(Endpoint& endpoint, bool receiving, bool sending) {
    if (endpoint.stage != Stage::connected) {
        return code_not_connected;
    }
    if (receiving) {
        endpoint.read_shut = true;
    }
    if (sending) {
        transport_.finish(endpoint);
    }
    stack_.touch(endpoint);
    return 0;
}

void SocketLayer::abandon_listener(Endpoint& endpoint) {
    endpoint.stage = Stage::over;
    endpoint.listening.reset();
    stack_.endpoints.each([&](Endpoint& child) {
        if (child.in_use && child.unaccepted && child.listener.packed() == endpoint.id.packed()) {
            child.unaccepted = false;
            transport_.abort(child);
            stack_.touch(child);
        }
    });
}

void SocketLayer::close(Endpoint& endpoint) {
    endpoint.owned = false;
    for (const bool sending : {true, false}) {
        cancel(endpoint, sending);
        (void)take_packet(endpoint, sending);
    }
    if (endpoint.bound) {
        stack_.names.erase(endpoint.bound_name);
        endpoint.bound = false;
    }
    if (endpoint.stage == Stage::listening) {
        abandon_listener(endpoint);
    } else if (endpoint.stage == Stage::connected) {
        if (endpoint.resets_on_close || endpoint.in.bytes.size() != 0) {
            transport_.abort(endpoint);  // bytes that no reader will take are answered with a reset
        } else {
            transport_.finish(endpoint);
        }
    } else {
        endpoint.stage = Stage::over;
    }
    stack_.touch(endpoint);
}

bool SocketLayer::pair(Machine& machine, Handle& one, Handle& other) {
    if (open(machine, type_stream, one) != 0) {
        return false;
    }
    if (open(machine, type_stream, other) != 0) {
        close(*stack_.find(one));
        return false;
    }
    transport_.join(*stack_.find(one), *stack_.find(other));
    return true;
}

bool SocketLayer::inject_fault(Endpoint& endpoint, InjectedFault fault) {
    if (endpoint.stage != Stage::connected) {
        return false;
    }
    ++stack_.counts.faults;
    stack_.touch(endpoint);
    switch (fault) {
        case InjectedFault::reset:
            if (Endpoint* peer = stack_.find(endpoint.peer)) {
                transport_.fail_by_reset(*peer);
            }
            transport_.fail_by_reset(endpoint);
            break;
        case InjectedFault::half_close: {
            Request& request = endpoint.sending;
            if (request.active && !request.due && request.kind == OperationKind::send &&
                !request.watch) {
                due(endpoint, true, -code_broken, false);
            }
            endpoint.machine->system.unlock(endpoint.out.cut(endpoint.out.acknowledged));
            transport_.finish(endpoint);
            break;
        }
        case InjectedFault::stall:
            endpoint.stalled = true;
            break;
        case InjectedFault::vanish:
            endpoint.vanished = true;
            break;
    }
    return true;
}

StartResult SocketLayer::accept(Endpoint& endpoint, const Operation& op) {
    if (endpoint.listening == nullptr) {
        return failed(code_invalid);
    }
    auto& ready = endpoint.listening->ready;
    if (ready.empty()) {
        return {};
    }
    Endpoint& connection = *stack_.find(ready.front());
    ready.pop_front();
    connection.unaccepted = false;
    connection.owned = connection.attached = true;
    if (Message* message = op.message()) {
        message->address = address_from_name(connection.remote);
    }
    return {Start::done, 0, connection.handle()};
}

StartResult SocketLayer::connect(Endpoint& endpoint, Operation& op) {
    Name to;
    if (!name_from_address(*reinterpret_cast<const Address*>(op.lease.data), to)) {
        return failed(code_not_here);
    }
    if (endpoint.stage == Stage::over && !endpoint.was_connected) {
        stack_.renew(endpoint);  // after a failed attempt
    }
    if (endpoint.stage != Stage::idle) {
        return failed(endpoint.stage == Stage::connected ? code_already_connected : code_invalid);
    }
    to.address = to.address != 0 ? to.address : loopback;
    Request& request = endpoint.sending;
    const StartResult result = wait(endpoint, op, request, false);
    if (result.start == Start::failed) {
        return result;
    }
    if (!endpoint.bound || endpoint.local.address == 0) {
        const bool here = (to.address >> 24U) == (loopback >> 24U);
        const Name from = stack_.free_name(here ? loopback : endpoint.machine->address);
        endpoint.local = endpoint.bound ? Name{from.address, endpoint.local.port} : from;
    }
    transport_.connect(endpoint, to);
    return result;
}

StartResult SocketLayer::wait(Endpoint& endpoint, const Operation& op, Request& request,
                              bool watch) {
    const std::int64_t price = stack_.values.locks != 0 ? stack_.values.operation_price : 0;
    if (!endpoint.machine->system.take_pool(stack_.values, price)) {
        return failed(code_no_buffers);
    }
    request = {};
    request.active = true;
    request.watch = watch;
    request.kind = op.kind;
    request.operation = op.id;
    request.price = price;
    return {};
}

StartResult SocketLayer::attempt(Endpoint& endpoint, Operation& op, unsigned count) {
    switch (op.kind) {
        case OperationKind::receive:
            return receive(endpoint, op);
        case OperationKind::receive_each:
            if (!op.readiness_only) {
                return receive(endpoint, op);
            }
            [[fallthrough]];
        case OperationKind::zero_byte:
            return {readable(endpoint) ? Start::done : Start::pending, 0};
        case OperationKind::writable:
            return {writable(endpoint) ? Start::done : Start::pending, 0};
        case OperationKind::send:
            return op.from_file ? copy_file(endpoint, op) : copy_sends(endpoint, op, count);
        case OperationKind::accept:
        case OperationKind::accept_each:
            return accept(endpoint, op);
        case OperationKind::disconnect:
            return failed(code_not_offered);
        case OperationKind::connect:
            break;
    }
    return failed(code_invalid);
}

StartResult SocketLayer::start(Endpoint& endpoint, Operation& op, unsigned count) {
    if (op.kind == OperationKind::connect) {
        return connect(endpoint, op);
    }
    const bool sends = op.kind == OperationKind::send;
    const StartResult tried = attempt(endpoint, op, count);
    if (tried.start != Start::pending) {
        return tried;
    }
    const bool holds =
        sends || op.kind == OperationKind::receive || op.kind == OperationKind::receive_each;
    if (stack_.values.locks == 0 || !holds || op.readiness_only || op.from_file) {
        return wait(endpoint, op, op.sending() ? endpoint.sending : endpoint.receiving, true);
    }
    return sends ? lock_sends(endpoint, op, count) : lock_receive(endpoint, op);
}

void SocketLayer::due(Endpoint& endpoint, bool sending, std::int64_t result, bool ready) {
    Request& request = sending ? endpoint.sending : endpoint.receiving;
    request.due = true;
    request.result = result;
    request.ready = ready;
    endpoint.machine->due.push_back({endpoint.id, sending});
    stack_.note(Step::woken, endpoint, sending ? 1 : 0,
                static_cast<std::uint64_t>(result > 0 ? result : 0));
}

// Cancels the request of one direction. The bytes that a send put on the wire stay sent; the model
// copies them, so that the caller's pages are free at once.
void SocketLayer::cancel(Endpoint& endpoint, bool sending) {
    Request& request = sending ? endpoint.sending : endpoint.receiving;
    if (!request.active || request.due) {
        return;
    }
    std::int64_t result = -code_cancelled;
    if (request.kind == OperationKind::send && !request.watch) {
        const std::uint64_t sent =
            std::clamp(endpoint.out.highest_sent, request.begin, request.end);
        endpoint.machine->system.unlock(endpoint.out.cut(request.begin));
        result = sent > request.begin ? static_cast<std::int64_t>(sent - request.begin) : result;
    } else if (request.kind == OperationKind::connect) {
        transport_.fail(endpoint, code_reset);
    }
    due(endpoint, sending, result, false);
}

Packet SocketLayer::take_packet(Endpoint& endpoint, bool sending) {
    Request& request = sending ? endpoint.sending : endpoint.receiving;
    System& system = endpoint.machine->system;
    system.unlock(request.pages);
    system.give_pool(request.price);
    Packet packet;
    packet.operation = request.operation;
    packet.result = request.result;
    packet.ready = request.ready;
    request = {};
    return packet;
}

void SocketLayer::look_after(Endpoint& endpoint) {
    serve_receiver(endpoint);
    serve_sender(endpoint);
    absorb(endpoint);
    transport_.output(endpoint);
    if (endpoint.owned || endpoint.unaccepted) {
        return;
    }
    if (Transport::settled(endpoint)) {
        stack_.release(endpoint);
    } else {
        transport_.give_up_later(endpoint);
    }
}

}  // namespace iocp::sim
