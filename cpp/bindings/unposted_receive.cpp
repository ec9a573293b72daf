#include "bindings/unposted_receive.hpp"

#include "backend/option.hpp"
#include "bindings/errors.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/standing.hpp"

namespace iocp::py {

namespace {

bool empties(int level, int option, int value) noexcept {
    return level == option_receive_buffer.level && option == option_receive_buffer.name &&
           value == 0;
}

// Returns whether the strategy keeps a receive posted while no data arrives.
bool stays_posted(SocketObject& socket, const std::optional<ReceiveStrategy>& strategy) {
    if (strategy == ReceiveStrategy::pooled) {
        return socket.binding->core->capabilities().multishot_receive;
    }
    return strategy == ReceiveStrategy::direct;
}

int receive_buffer_of(SocketObject& socket) {
    return peek(socket, -1, [&](const Socket& core) {
        int bytes = -1;
        std::size_t length = sizeof bytes;
        const int code = socket.binding->core->backend().get_option(
            core, option_receive_buffer.level, option_receive_buffer.name, &bytes, length);
        return code == 0 ? bytes : -1;
    });
}

bool warn() {
    PyObject* category = warning_class("UnpostedReceiveWarning");
    const bool go_on =
        category != nullptr &&
        attaching([category] {
            return PyErr_WarnEx(category,
                                "the receive buffer is 0 and this strategy leaves no receive "
                                "posted, so data waits at the peer until a receive is posted; use "
                                "receive='direct', or set a receive buffer",
                                1);
        }) == 0;
    Py_XDECREF(category);
    return go_on;
}

}  // namespace

bool warn_before_option(SocketObject& socket, int level, int option, int value) {
    if (!empties(level, option, value)) {
        return true;
    }
    const Standing found = standing(socket);
    const std::optional<ReceiveStrategy> strategy =
        found.adaptive ? std::nullopt : std::optional(found.strategy);
    return !found.stands || stays_posted(socket, strategy) || warn();
}

bool warn_before_strategy(SocketObject& socket, const std::optional<ReceiveStrategy>& strategy) {
    const int minimum = socket.binding->min_receive_buffer.load(std::memory_order_relaxed);
    return minimum < 0 || stays_posted(socket, strategy) || receive_buffer_of(socket) != minimum ||
           warn();
}

void note_option(SocketObject& socket, int level, int option, int value) {
    if (empties(level, option, value)) {
        socket.binding->min_receive_buffer.store(receive_buffer_of(socket),
                                                 std::memory_order_relaxed);
    }
}

}  // namespace iocp::py
