// The socket layer's receiving side: from the window through the receive buffer to the reader.
#include <algorithm>

#include "backend/sim/codes.hpp"
#include "backend/sim/socket_layer.hpp"
#include "base/page_span.hpp"
#include "native_sockets.hpp"

namespace iocp::sim {

namespace {

// Returns the result of a read that finds no bytes.
StartResult nothing_to_read(const Endpoint& endpoint, const Parameters& values) noexcept {
    if (endpoint.stage == Stage::over && endpoint.in.ended && values.end_outlives_reset != 0) {
        return {Start::done, 0};
    }
    if (endpoint.stage == Stage::over) {
        return {Start::failed, endpoint.error};
    }
    if (endpoint.stage == Stage::idle || endpoint.stage == Stage::listening) {
        return {Start::failed, code_not_connected};
    }
    return {endpoint.in.ended || endpoint.read_shut ? Start::done : Start::pending, 0};
}

}  // namespace

bool SocketLayer::readable(const Endpoint& endpoint) noexcept {
    if (endpoint.stage == Stage::listening) {
        return !endpoint.listening->ready.empty();
    }
    if (endpoint.stalled) {
        return endpoint.stage == Stage::over;
    }
    return endpoint.in.bytes.size() != 0 || endpoint.in.ended || endpoint.read_shut ||
           endpoint.stage == Stage::over || endpoint.stage == Stage::idle;
}

// Shortens the length of a call if the seed or the parameter `shorten_operation` says so.
std::size_t SocketLayer::shortened(std::size_t length) {
    if (length <= 1) {
        return length;
    }
    if (is_number(stack_.values.shorten_operation, ++stack_.counts.divisible_calls)) {
        return length / 2;
    }
    if (stack_.random.chance(stack_.values.short_operations)) {
        return 1 + static_cast<std::size_t>(
                       stack_.random.below(static_cast<std::uint32_t>(length - 1)));
    }
    return length;
}

std::uint32_t SocketLayer::pages_of(const std::byte* data, std::size_t length) const noexcept {
    return static_cast<std::uint32_t>(page_span(reinterpret_cast<std::uintptr_t>(data), length,
                                                static_cast<std::size_t>(stack_.values.page_size)));
}

void SocketLayer::absorb(Endpoint& endpoint) {
    const std::size_t moved = endpoint.in.absorb(endpoint.receive_buffer);
    if (moved != 0) {
        stack_.counts.copied_bytes += moved;
        stack_.note(Step::copied, endpoint, endpoint.in.bytes.back(), moved);
    }
}

void SocketLayer::consume(Endpoint& endpoint, std::size_t length) {
    stack_.note(Step::delivered, endpoint, endpoint.in.bytes.front(), length);
    stack_.counts.delivered_bytes += length;
    endpoint.in.bytes.drop(length);
    absorb(endpoint);
    transport_.was_read(endpoint, length);
    stack_.touch(endpoint);
}

StartResult SocketLayer::read(Endpoint& endpoint, std::byte* data, std::size_t length) {
    Incoming& in = endpoint.in;
    if (endpoint.stalled && endpoint.stage == Stage::connected) {
        return {};
    }
    if (in.bytes.size() == 0) {
        return nothing_to_read(endpoint, stack_.values);
    }
    const std::size_t got = shortened(std::min(length, in.bytes.size()));
    std::copy_n(in.bytes.at(in.bytes.front()), got, data);
    consume(endpoint, got);
    return {Start::done, static_cast<std::int64_t>(got)};
}

StartResult SocketLayer::receive(Endpoint& endpoint, Operation& op) {
    Incoming& in = endpoint.in;
    if (endpoint.stalled && endpoint.stage == Stage::connected) {
        return {};
    }
    if (in.bytes.size() == 0) {
        return nothing_to_read(endpoint, stack_.values);
    }
    const std::size_t got = shortened(std::min(op.remaining(), in.bytes.size()));
    std::size_t copied = 0;
    op.each_part([&](std::byte* data, std::size_t length) {
        const std::size_t part = std::min(length, got - copied);
        std::copy_n(in.bytes.at(in.bytes.front() + copied), part, data);
        copied += part;
        return copied != got;
    });
    if ((op.flags & MSG_PEEK) == 0) {
        consume(endpoint, got);
    }
    return {Start::done, static_cast<std::int64_t>(got)};
}

// Locks the pages of a receive that waits; arriving bytes go straight into them (003, 6.1).
StartResult SocketLayer::lock_receive(Endpoint& endpoint, Operation& op) {
    Request& request = endpoint.receiving;
    const StartResult result = wait(endpoint, op, request, false);
    if (result.start == Start::failed) {
        return result;
    }
    request.peek = (op.flags & MSG_PEEK) != 0;
    std::uint32_t pages = 0;
    op.each_part([&](std::byte* data, std::size_t length) {
        request.parts.push_back({data, length});
        pages += pages_of(data, length);
        return true;
    });
    if (!endpoint.machine->system.lock(stack_.values, pages)) {
        (void)take_packet(endpoint, false);
        return {Start::failed, code_no_buffers};
    }
    request.pages = pages;
    return result;
}

// Moves the arrived bytes into the pages of the waiting receive.
void SocketLayer::fill(Endpoint& endpoint) {
    const Request& request = endpoint.receiving;
    Incoming& in = endpoint.in;
    const StartResult nothing = nothing_to_read(endpoint, stack_.values);
    if (in.bytes.size() == 0) {
        due(endpoint, false, nothing.start == Start::failed ? -nothing.value : 0, false);
        return;
    }
    std::size_t copied = 0;
    for (const ConstBytes& part : request.parts) {
        const std::size_t length = std::min(part.length, in.bytes.size() - copied);
        std::copy_n(in.bytes.at(in.bytes.front() + copied), length,
                    const_cast<std::byte*>(part.data));
        copied += length;
    }
    if (!request.peek) {
        consume(endpoint, copied);
    }
    due(endpoint, false, static_cast<std::int64_t>(copied), false);
}

void SocketLayer::serve_receiver(Endpoint& endpoint) {
    Request& request = endpoint.receiving;
    if (!request.active || request.due || !readable(endpoint)) {
        return;
    }
    if (request.parts.empty()) {
        due(endpoint, false, 0, true);
    } else {
        fill(endpoint);
    }
}

}  // namespace iocp::sim
