#include "core/sockets.hpp"

#include <new>

#include "backend/families.hpp"
#include "backend/option.hpp"

namespace iocp {

Socket* Sockets::create(Handle handle) {
    try {
        if (table_.free() == 0) {
            admission_.make_room(table_.capacity() + SlotTable<Socket>::slots_per_chunk);
        }
        Socket& socket = table_.take();
        socket.handle = handle;
        socket.state = SocketState::open;
        socket.skip_done = options_.defaults.skip_done;
        socket.marks = options_.defaults.marks;
        ++open_;
        return &socket;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

// Frees a socket that the application has not seen.
void Sockets::give_back(Socket& socket) noexcept {
    socket.state = SocketState::free;
    --open_;
    table_.give_back(socket);
}

Error Sockets::open(int family, int type, int protocol, Socket*& out) {
    if (closing_) {
        return port_is_closed;
    }
    Handle handle = no_handle;
    if (const int code = backend_.open(family, type, protocol, handle); code != 0) {
        return calls_.error(code);
    }
    if (Error refused = join(create(handle), handle, false, out)) {
        return refused;
    }
    if (options_.defaults.nodelay) {
        set_nodelay(*out);
    }
    return {};
}

Error Sockets::adopt(const Adopted& adopted, Socket*& out) {
    if (closing_) {
        return port_is_closed;
    }
    Socket* socket = create(adopted.handle);
    if (socket != nullptr) {
        socket->was_nonblocking = adopted.nonblocking;
        socket->gives_nodelay = options_.defaults.nodelay;
        socket->borrowed = adopted.borrowed;
    }
    return join(socket, adopted.handle, true, out);
}

template <class Describe>
Error Sockets::watch_as(Handle handle, Describe&& describe, Socket*& out) {
    if (closing_) {
        return port_is_closed;
    }
    Socket* socket = create(handle);
    if (socket == nullptr) {
        return no_socket;
    }
    if (const int code = describe(*socket); code != 0) {
        give_back(*socket);
        return calls_.error(code);
    }
    socket->watched = true;
    socket->borrowed = true;
    socket->shared = true;
    out = socket;
    return {};
}

Error Sockets::watch(Handle handle, Socket*& out) {
    return watch_as(
        handle, [&](Socket& socket) { return backend_.describe_watched(handle, socket); }, out);
}

Error Sockets::watch_object(Handle handle, Socket*& out) {
    return watch_as(
        handle, [&](Socket& socket) { return backend_.describe_object(handle, socket); }, out);
}

Error Sockets::join(Socket* socket, Handle handle, bool adopted, Socket*& out) {
    if (socket == nullptr) {
        if (!adopted) {
            calls_.close_unused(handle);
        }
        return no_socket;
    }
    if (const int code = backend_.describe(handle, *socket); code != 0) {
        if (!adopted) {
            calls_.close_unused(handle);
        }
        give_back(*socket);
        return calls_.error(code);
    }
    socket->shared = adopted;
    out = socket;
    return {};
}

StartResult Sockets::start_accept(Operation& op) noexcept {
    return room() ? calls_.start(op, 1) : calls_.lacks_memory();
}

Socket* Sockets::accepted(const Socket& listener, Handle handle) {
    Socket* socket = create(handle);
    if (socket == nullptr) {
        calls_.close_unused(handle);
        return nullptr;
    }
    socket->family = listener.family;
    socket->type = listener.type;
    socket->protocol = listener.protocol;
    socket->stream = listener.stream;
    socket->connected = true;
    socket->unclaimed = true;
    if (!watch_idle(*socket)) {
        calls_.close_unused(handle);
        give_back(*socket);
        return nullptr;
    }
    if (listener.gives_nodelay) {
        set_nodelay(*socket);
    }
    return socket;
}

// Sets TCP_NODELAY on a TCP socket. If the system refuses, Nagle's algorithm stays on.
void Sockets::set_nodelay(Socket& socket) {
    if (!socket.stream || (socket.family != family_inet && socket.family != family_inet6)) {
        return;
    }
    const int on = 1;
    (void)backend_.set_option(socket, option_nodelay.level, option_nodelay.name, &on, sizeof on);
}

bool Sockets::watch_idle(Socket& socket) noexcept {
    if (options_.idle_timeout == 0) {
        return true;
    }
    socket.active_ms = timers_.milliseconds();
    socket.timer = timers_.arm(options_.idle_timeout, TimerKind::idle_connection, &socket);
    return socket.timer != nullptr;
}

}  // namespace iocp
