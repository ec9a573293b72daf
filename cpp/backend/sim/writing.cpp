// The socket layer's sending side: it copies while there is room, and locks pages when there is
// none.
#include <algorithm>
#include <vector>

#include "backend/sent_file.hpp"
#include "backend/sim/codes.hpp"
#include "backend/sim/socket_layer.hpp"

namespace iocp::sim {

namespace {

constexpr std::size_t max_of_a_file = std::size_t{64} << 10U;  // bytes of a file in one step

}  // namespace

std::uint64_t SocketLayer::buffer_size(const Endpoint& endpoint) const noexcept {
    if (stack_.values.dynamic_send_buffer == 0 || endpoint.send_buffer_set) {
        return endpoint.send_buffer;
    }
    const std::uint64_t window = endpoint.out.window_edge - endpoint.out.acknowledged;
    return std::max(endpoint.send_buffer, window);
}

// Returns the bytes from the end of the posted data that a Linux send may still take. Linux checks
// the buffer's size only when it begins a piece of several segments, and the transport cuts
// segments off the piece before. So a send continues while the transport can send, and then takes
// one more piece.
std::uint64_t SocketLayer::piece(const Endpoint& endpoint) const noexcept {
    const Outgoing& out = endpoint.out;
    const auto segment = static_cast<std::uint64_t>(stack_.values.mss);
    const auto maximum = static_cast<std::uint64_t>(stack_.values.send_piece);
    const std::uint64_t window = out.window_edge - out.acknowledged;
    const std::uint64_t size = std::min(maximum, window / 2) / segment * segment;
    const std::uint64_t upto = out.window_edge + size;
    return size > segment && upto > out.end ? upto - out.end : 0;
}

std::uint64_t SocketLayer::buffered(const Endpoint& endpoint) const noexcept {
    return stack_.values.whole_sends != 0 ? endpoint.out.buffered_sends() : endpoint.out.buffered();
}

// Returns how many bytes of a send the buffer takes now. AFD takes a whole send or nothing. A send
// that must not lock its pages is taken as far as it fits, or, if the buffer has size 0, one
// segment at a time.
std::size_t SocketLayer::room(const Endpoint& endpoint, const Operation& op) const noexcept {
    const std::size_t length = op.remaining();
    const std::uint64_t size = buffer_size(endpoint);
    const std::uint64_t used = buffered(endpoint);
    const std::uint64_t left = used < size ? size - used : 0;
    if (stack_.values.locks == 0 || op.readiness_only || op.from_file) {
        const bool alone = size == 0 && endpoint.out.empty();
        const auto segment = static_cast<std::uint64_t>(stack_.values.mss);
        const bool more = stack_.values.locks == 0 && stack_.values.one_more_send != 0;
        const std::uint64_t whole = more ? (left + segment - 1) / segment * segment : left;
        const std::uint64_t taken = left != 0 ? std::max(whole, piece(endpoint)) : 0;
        return static_cast<std::size_t>(std::min<std::uint64_t>(length, alone ? segment : taken));
    }
    const bool taken = length <= left || (stack_.values.one_more_send != 0 && left != 0);
    return taken ? length : 0;
}

bool SocketLayer::writable(const Endpoint& endpoint) const noexcept {
    if (endpoint.stage != Stage::connected || endpoint.out.finished) {
        return endpoint.stage != Stage::connecting;  // true: the send reports the error
    }
    const std::uint64_t size = buffer_size(endpoint);
    const std::uint64_t used = buffered(endpoint);
    if (stack_.values.locks == 0) {
        return used < size && size - used >= used / 2;  // at least a third is free
    }
    return used < size || endpoint.out.empty();
}

int SocketLayer::refusal_of_send(const Endpoint& endpoint) const noexcept {
    if (endpoint.stage == Stage::over) {
        return endpoint.error != 0 ? endpoint.error : code_broken;
    }
    if (endpoint.stage != Stage::connected) {
        return code_not_connected;
    }
    return endpoint.out.finished ? code_broken : 0;
}

// Copies the part of a run of sends that the buffer takes. Returns pending if it takes nothing.
StartResult SocketLayer::copy_sends(Endpoint& endpoint, Operation& op, unsigned count) {
    if (const int code = refusal_of_send(endpoint); code != 0) {
        return {Start::failed, code};
    }
    std::size_t total = 0;
    bool some = false;
    Operation* at = &op;
    for (unsigned i = 0; i < count; ++i, at = at->next) {
        const std::size_t wanted = at->remaining();
        std::size_t left = room(endpoint, *at);
        if (wanted != 0 && left == 0) {
            break;
        }
        left = stack_.values.locks == 0 ? shortened(left) : left;
        const bool whole = left == wanted;
        total += left;
        endpoint.out.begin_copied_send();
        at->each_part([&](const std::byte* data, std::size_t length) {
            const std::size_t part = std::min(length, left);
            endpoint.out.copy(data, part);
            left -= part;
            return left != 0;
        });
        some = true;
        if (!whole) {
            break;
        }
    }
    if (!some) {
        return {};
    }
    if (total != 0) {
        stack_.counts.copied_bytes += total;
        stack_.note(Step::copied, endpoint, endpoint.out.end, total);
        transport_.posted(endpoint, false);
        stack_.touch(endpoint);
    }
    return {Start::done, static_cast<std::int64_t>(total)};
}

// Copies a file's bytes through the send buffer, as many as the buffer takes at a time. No page of
// the caller is locked.
StartResult SocketLayer::copy_file(Endpoint& endpoint, Operation& op) {
    if (op.remaining() == 0) {
        return {Start::done, 0};
    }
    if (const int code = refusal_of_send(endpoint); code != 0) {
        return {Start::failed, code};
    }
    const std::size_t left = shortened(std::min(room(endpoint, op), max_of_a_file));
    if (left == 0) {
        return {};
    }
    std::vector<std::byte> bytes(left);
    std::size_t got = 0;
    if (const int code =
            SentFile::of(op).read(SentFile::position(op), bytes.data(), bytes.size(), got);
        code != 0) {
        return {Start::failed, code};
    }
    if (got != 0) {
        endpoint.out.begin_copied_send();
        endpoint.out.copy(bytes.data(), got);
        stack_.counts.copied_bytes += got;
        stack_.note(Step::copied, endpoint, endpoint.out.end, got);
        transport_.posted(endpoint, false);
        stack_.touch(endpoint);
    }
    return {Start::done, static_cast<std::int64_t>(got)};
}

// Bypasses the buffer: the transport sends from the callers' pages, which stay locked until the
// peer has acknowledged them (003, 4).
StartResult SocketLayer::lock_sends(Endpoint& endpoint, Operation& op, unsigned count) {
    Request& request = endpoint.sending;
    const StartResult result = wait(endpoint, op, request, false);
    if (result.start == Start::failed) {
        return result;
    }
    const auto each = [&](auto&& visit) {
        const Operation* at = &op;
        for (unsigned i = 0; i < count; ++i, at = at->next) {
            at->each_part([&](const std::byte* data, std::size_t length) {
                visit(*at, data, length);
                return true;
            });
        }
    };
    std::uint32_t pages = 0;
    each([&](const Operation&, const std::byte* data, std::size_t length) {
        pages += pages_of(data, length);
    });
    if (!endpoint.machine->system.lock(stack_.values, pages)) {
        (void)take_packet(endpoint, true);
        return {Start::failed, code_no_buffers};
    }
    Outgoing& out = endpoint.out;
    request.begin = out.end;
    each([&](const Operation& one, const std::byte* data, std::size_t length) {
        out.lock(data, length, one.id, pages_of(data, length));
    });
    request.end = out.end;
    stack_.note(Step::locked, endpoint, request.begin, request.end - request.begin);
    transport_.posted(endpoint, true);
    stack_.touch(endpoint);
    return result;
}

void SocketLayer::serve_sender(Endpoint& endpoint) {
    Request& request = endpoint.sending;
    if (!request.active || request.due) {
        return;
    }
    const bool over = endpoint.stage == Stage::over;
    if (request.watch) {
        if (writable(endpoint)) {
            due(endpoint, true, 0, true);
        }
    } else if (over) {
        due(endpoint, true, -endpoint.error, false);
    } else if (request.kind == OperationKind::connect) {
        if (endpoint.stage == Stage::connected) {
            due(endpoint, true, 0, false);
        }
    } else if (endpoint.out.acknowledged >= request.end) {
        due(endpoint, true, static_cast<std::int64_t>(request.end - request.begin), false);
    }
}

}  // namespace iocp::sim
