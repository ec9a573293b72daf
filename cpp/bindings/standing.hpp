#pragma once

#include "bindings/open_socket.hpp"

namespace iocp::py {

// What receives everything on a socket, if something does.
struct Standing {
    bool stands{false};
    bool adaptive{false};
    Receive strategy{Receive::pooled};
};

inline Standing standing(SocketObject& socket) {
    return peek(socket, Standing{}, [](const Socket& core) {
        const Operation* op = core.receiving.head;
        return op != nullptr && op->kind == Kind::receive_each && core.stream
                   ? Standing{true, op->adaptive, op->strategy}
                   : Standing{};
    });
}

}  // namespace iocp::py
