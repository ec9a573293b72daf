#include "backend/windows/listeners.hpp"

#include <algorithm>
#include <new>

#include "backend/windows/call.hpp"
#include "backend/windows/socket_calls.hpp"

namespace iocp {

Listener* Listeners::find(SlotId socket) noexcept {
    for (const auto& listener : listeners_) {
        if (listener->socket.packed() == socket.packed()) {
            return listener.get();
        }
    }
    return nullptr;
}

StartResult Listeners::accept(Operation& op) {
    const Socket& socket = *op.socket;
    Listener* listener = find(socket.id);
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
    listener->wanted = op.kind == OperationKind::accept_each ? posted_ : 1;
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

// Posts accepts until `wanted` are posted. Returns the error that stopped this, or 0.
int Listeners::post_accepts(Listener& listener) {
    listener.arrived.reserve(2 * std::size_t{listener.wanted});
    while (listener.posted < listener.wanted && listener.arrived.size() < listener.wanted) {
        if (const int code = post_accept(listener); code != 0) {
            return code;
        }
    }
    return 0;
}

int Listeners::post_accept(Listener& listener) {
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
    const Member* member = members_.find(listener.socket);
    if (at_once && member != nullptr && member->skips) {
        accept_finished(listener, *request, 0);
    }
    return 0;
}

// Takes the result of one posted accept: a connection, an error, or nothing if the accept was
// cancelled.
void Listeners::accept_finished(Listener& listener, Request& request, int code) {
    Request** at = &listener.first;
    while (*at != &request) {
        at = &(*at)->next;
    }
    *at = request.next;
    --listener.posted;
    const auto made = static_cast<SOCKET>(request.accepting);
    requests_.give_back(request);
    if (code == 0) {
        // Without SO_UPDATE_ACCEPT_CONTEXT the connection has no peer, cannot be shut down, and
        // lacks the listener's options (Microsoft, AcceptEx, remarks).
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

void Listeners::cancel(SlotId socket) noexcept {
    Listener* listener = find(socket);
    if (listener == nullptr) {
        return;
    }
    listener->is_awaited = false;
    for (Request* at = listener->first; at != nullptr; at = at->next) {
        (void)winsock_.cancel(handle_of(listener->handle), &at->overlapped);
    }
}

void Listeners::complete(Listener& listener, Request& request, std::vector<Packet>& out) {
    const int code = listener.closed ? WSA_OPERATION_ABORTED : failure_of(listener.handle, request);
    accept_finished(listener, request, code);
    if (listener.is_awaited && (!listener.arrived.empty() || listener.posted == 0)) {
        listener.is_awaited = false;
        Packet packet;
        packet.operation = listener.waiting;
        packet.ready = true;
        out.push_back(std::move(packet));
    }
    forget(listener);
}

void Listeners::end(SlotId socket) {
    Listener* listener = find(socket);
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
    cancel(socket);
    forget(*listener);
}

void Listeners::forget(const Listener& listener) {
    if (listener.closed && listener.posted == 0) {
        std::erase_if(listeners_, [&](const auto& at) { return at.get() == &listener; });
    }
}

std::size_t Listeners::internal_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const auto& listener : listeners_) {
        bytes += listener->posted * sizeof(AcceptAddresses);
    }
    return bytes;
}

}  // namespace iocp
