// IocpBackend: posted accepts and their connections.
#include <algorithm>
#include <new>

#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

Listener* IocpBackend::listener_of(SlotId socket) noexcept {
    for (const auto& listener : listeners_) {
        if (listener->socket.packed() == socket.packed()) {
            return listener.get();
        }
    }
    return nullptr;
}

// Returns length 0 for a connection that is over, because Windows then names no peer.
Address IocpBackend::peer_of(SOCKET socket) noexcept {
    Address peer{};
    int length = static_cast<int>(peer.bytes.size());
    auto* where = reinterpret_cast<sockaddr*>(peer.bytes.data());
    if (::getpeername(socket, where, &length) == 0) {
        peer.length = static_cast<std::uint32_t>(length);
    }
    return peer;
}

StartResult IocpBackend::accept(Operation& op) {
    Socket& socket = *op.socket;
    if (const int code = join(socket); code != 0) {
        return {Start::failed, code};
    }
    Listener* listener = listener_of(socket.id);
    if (listener == nullptr) {
        auto fresh = std::make_unique<Listener>();
        fresh->socket = socket.id;
        fresh->handle = static_cast<SOCKET>(socket.handle);
        fresh->family = socket.family;
        fresh->type = socket.type;
        fresh->protocol = socket.protocol;
        listener = fresh.get();
        listeners_.push_back(std::move(fresh));
    }
    listener->wanted = op.kind == OperationKind::accept_each ? posted_accepts_ : 1;
    listener->is_awaited = false;
    if (listener->arrived.empty()) {
        const int code = post_accepts(*listener);
        if (listener->arrived.empty() && listener->posted == 0) {
            return {Start::failed, code};
        }
    }
    if (!listener->arrived.empty()) {
        const Arrival arrival = listener->arrived.front();
        listener->arrived.erase(listener->arrived.begin());
        if (Message* message = op.message()) {
            message->address = arrival.peer;
        }
        return arrival.code != 0 ? StartResult{Start::failed, arrival.code}
                                 : StartResult{Start::done, 0, arrival.handle};
    }
    listener->waiting = op.id;
    listener->is_awaited = true;
    return {};
}

// Keeps `wanted` accepts posted. Returns the error that stopped it, or 0.
int IocpBackend::post_accepts(Listener& listener) {
    listener.arrived.reserve(2 * std::size_t{listener.wanted});
    while (listener.posted < listener.wanted && listener.arrived.size() < listener.wanted) {
        if (const int code = post_accept(listener); code != 0) {
            return code;
        }
    }
    return 0;
}

int IocpBackend::post_accept(Listener& listener) {
    Request* request = requests_.take();
    if (request == nullptr) {
        return WSA_NOT_ENOUGH_MEMORY;
    }
    request->addresses.reset(new (std::nothrow) AcceptAddresses);
    const SOCKET made =
        request->addresses == nullptr
            ? INVALID_SOCKET
            : winsock_.socket(listener.family, listener.type, listener.protocol, nullptr, 0,
                              WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (made == INVALID_SOCKET) {
        const int code = request->addresses == nullptr ? WSA_NOT_ENOUGH_MEMORY : last_error();
        requests_.give_back(*request);
        return code;
    }
    request->socket = listener.socket;
    request->kind = OperationKind::accept;
    request->accepting = static_cast<Handle>(made);
    DWORD bytes = 0;
    const bool at_once = winsock_.accept_ex(listener.handle, made, request->addresses->bytes.data(),
                                            0, AcceptAddresses::each, AcceptAddresses::each, &bytes,
                                            &request->overlapped) != FALSE;
    const int code = at_once ? 0 : last_error();
    if (!at_once && code != WSA_IO_PENDING) {
        (void)winsock_.close(made);
        requests_.give_back(*request);
        return code;
    }
    request->next = listener.first;
    listener.first = request;
    ++listener.posted;
    const Member* member = member_of(listener.socket);
    if (at_once && member != nullptr && member->skips) {
        accept_finished(listener, *request, 0);
    }
    return 0;
}

// Ends one posted accept: with a connection, an error, or nothing if it was cancelled.
void IocpBackend::accept_finished(Listener& listener, Request& request, int code) {
    Request** at = &listener.first;
    while (*at != &request) {
        at = &(*at)->next;
    }
    *at = request.next;
    --listener.posted;
    const auto made = static_cast<SOCKET>(request.accepting);
    requests_.give_back(request);
    if (code == 0) {
        // Without this option the connection has no peer, cannot be shut down, and lacks the
        // listener's options (Microsoft, AcceptEx, remarks).
        code = winsock_.set_option(made, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                                   reinterpret_cast<const char*>(&listener.handle),
                                   sizeof listener.handle) == 0
                   ? own(made)
                   : last_error();
    }
    if (code != 0 || listener.closed) {
        (void)winsock_.close(made);
    }
    if (listener.closed || code_cancelled(code)) {
        return;
    }
    if (code != 0) {
        listener.arrived.push_back({no_handle, code});
        return;
    }
    listener.arrived.push_back({static_cast<Handle>(made), 0, peer_of(made)});
}

void IocpBackend::accept_packet(Listener& listener, Request& request, std::vector<Packet>& out) {
    const int code = listener.closed ? WSA_OPERATION_ABORTED : failure_of(listener.handle, request);
    accept_finished(listener, request, code);
    if (listener.is_awaited && (!listener.arrived.empty() || listener.posted == 0)) {
        listener.is_awaited = false;
        Packet packet;
        packet.operation = listener.waiting;
        packet.ready = true;
        out.push_back(std::move(packet));
    }
    forget_listener(listener);
}

// Ends the socket of a listener. The listener stays until its last packet.
void IocpBackend::end_listener(SlotId socket) {
    Listener* listener = listener_of(socket);
    if (listener == nullptr) {
        return;
    }
    listener->closed = true;
    listener->is_awaited = false;
    for (const Arrival& arrival : listener->arrived) {
        if (arrival.handle != no_handle) {
            (void)winsock_.close(static_cast<SOCKET>(arrival.handle));
        }
    }
    listener->arrived.clear();
    for (Request* at = listener->first; at != nullptr; at = at->next) {
        (void)winsock_.cancel(reinterpret_cast<HANDLE>(listener->handle), &at->overlapped);
    }
    forget_listener(*listener);
}

void IocpBackend::forget_listener(const Listener& listener) {
    if (listener.closed && listener.posted == 0) {
        std::erase_if(listeners_, [&](const auto& at) { return at.get() == &listener; });
    }
}

std::size_t IocpBackend::internal_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const auto& listener : listeners_) {
        bytes += listener->posted * sizeof(AcceptAddresses);
    }
    return bytes;
}

}  // namespace iocp
