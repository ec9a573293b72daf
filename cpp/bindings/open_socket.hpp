#pragma once

#include "bindings/errors.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_object.hpp"

namespace iocp::py {

// Makes a call on the core's socket with the port's lock held, if the socket is open. `call`
// returns an Error. False: an exception is set.
template <class Call>
bool with_open(SocketObject& socket, Call&& call) {
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return false;
    }
    const Error error = locked(port, [&]() -> Error {
        Socket* core = socket.core.get();
        if (core == nullptr || core->state != SocketState::open) {
            return socket_is_closed;
        }
        return call(*core);
    });
    if (error) {
        raise(&port, *port.types, error);
        return false;
    }
    return true;
}

template <class Call>
bool with_code(SocketObject& socket, Call&& call) {
    return with_open(socket, [&](Socket& core) -> Error {
        Backend& backend = socket.binding->core->backend();
        const int code = call(backend, core);
        return code == 0 ? Error{} : system_error(backend, code);
    });
}

// Returns a copy of the value that `read` finds in the core's open socket, or `otherwise` once the
// socket is closed.
template <class Value, class Read>
Value peek(SocketObject& socket, Value otherwise, Read&& read) {
    if (socket.binding->forked()) {
        return otherwise;
    }
    return locked(*socket.binding, [&] {
        const Socket* core = socket.core.get();
        return core != nullptr ? read(*core) : otherwise;
    });
}

}  // namespace iocp::py
