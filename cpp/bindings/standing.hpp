#pragma once

#include "bindings/open_socket.hpp"
#include "bindings/socket_object.hpp"

namespace iocp::py {

// A socket's receive() as the core has it: whether that subscription runs, and its strategy.
struct Standing {
    bool stands{false};
    bool adaptive{false};
    ReceiveStrategy strategy{ReceiveStrategy::pooled};
};

inline Standing standing(SocketObject& socket) {
    return peek(socket, Standing{}, [](const Socket& core) {
        const Operation* op = core.receiving.head;
        return op != nullptr && op->kind == OperationKind::receive_each && core.stream
                   ? Standing{true, op->adaptive, op->strategy}
                   : Standing{};
    });
}

}  // namespace iocp::py
