// IocpBackend: datagrams that are sent to an address, or received with their sender.
#include <new>

#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

namespace {

// The two values that Winsock writes when a datagram arrives, beside its bytes and its sender.
struct Answer {
    INT address_length;
    DWORD flags;
};
static_assert(sizeof(Answer) <= sizeof(Message::native));

sockaddr* room_of(Address& address) noexcept {
    return reinterpret_cast<sockaddr*>(address.bytes.data());
}

}  // namespace

// Calls WSARecv, or for a datagram with its sender WSARecvFrom. An overlapped call writes the
// sender and the flags when it ends, so they lie in the Message.
int IocpBackend::call_receive(Operation& op, CallBuffers& buffers, DWORD flags, DWORD& bytes,
                              OVERLAPPED* overlapped) const noexcept {
    const SOCKET socket = socket_of(*op.socket);
    Message* message = op.message();
    WSABUF* first = buffers.data();
    if (message == nullptr || op.socket->stream) {
        return winsock_.receive(socket, first, buffers.count(), &bytes, &flags, overlapped,
                                nullptr);
    }
    message->address = {};
    auto* answer =
        new (message->native.data()) Answer{static_cast<INT>(message->address.bytes.size()), flags};
    return winsock_.receive_from(socket, first, buffers.count(), &bytes, &answer->flags,
                                 room_of(message->address), &answer->address_length, overlapped,
                                 nullptr);
}

int IocpBackend::call_send(const Operation& op, CallBuffers& buffers, DWORD& bytes,
                           OVERLAPPED* overlapped) const noexcept {
    const SOCKET socket = socket_of(*op.socket);
    const auto flags = static_cast<DWORD>(op.flags);
    Message* message = op.message();
    WSABUF* first = buffers.data();
    if (message == nullptr || message->address.length == 0) {
        return winsock_.send(socket, first, buffers.count(), &bytes, flags, overlapped, nullptr);
    }
    return winsock_.send_to(socket, first, buffers.count(), &bytes, flags,
                            room_of(message->address), static_cast<int>(message->address.length),
                            overlapped, nullptr);
}

// Takes the sender that the system wrote to the Message. Precondition: the datagram has arrived.
void IocpBackend::take_sender(Operation& op) noexcept {
    Message* message = op.message();
    if (message != nullptr && !op.socket->stream) {
        const auto& answer = *std::launder(reinterpret_cast<Answer*>(message->native.data()));
        const bool named = room_of(message->address)->sa_family != AF_UNSPEC;
        message->address.length = named ? static_cast<std::uint32_t>(answer.address_length) : 0;
    }
}

void IocpBackend::conclude(Operation& op, Packet& packet) {
    if (packet.result >= 0 && !packet.ready) {
        take_sender(op);
    }
}

StartResult IocpBackend::read_from(Socket& socket, std::byte* data, std::size_t length,
                                   Address& from) {
    if (const int code = members_.take_error(socket); code != 0) {
        return failed(code);
    }
    CallBuffers buffers;
    buffers.add(data, length);
    DWORD bytes = 0;
    DWORD flags = 0;
    auto size = static_cast<INT>(from.bytes.size());
    const int returned = winsock_.receive_from(socket_of(socket), buffers.data(), 1, &bytes, &flags,
                                               room_of(from), &size, nullptr, nullptr);
    from.length = room_of(from)->sa_family != AF_UNSPEC ? static_cast<std::uint32_t>(size) : 0;
    const StartResult result = came_to(returned, bytes, false);
    return result.start == Start::failed && result.value == WSAEMSGSIZE ? cut(length) : result;
}

}  // namespace iocp
