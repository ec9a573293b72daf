#pragma once

#include <vector>

#include "backend/windows/completion_port.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// The backend's state of a socket that has joined the completion port.
struct Member {
    SOCKET socket{INVALID_SOCKET};
    SlotId id;
    Request* receiving{nullptr};  // the request of the receiving lane in the kernel
    Request* sending{nullptr};
    int pending_error{0};  // found by a readiness wait; the following read returns it
    bool skips{false};     // a request that finishes at once leaves no packet
    bool stream{false};
    bool pipe{false};
    // The program has shut the socket down for receiving. Waiting receives end with the end of the
    // stream.
    bool deaf{false};
};

// The sockets that have joined the completion port. A socket joins with its first request. Windows
// documents no way to leave the port, so the socket's handle stays associated with it. The
// completion key is the socket's SlotId. Packets with the key of a socket that has left are
// ignored: they report requests of the handle's next owner. A watched socket is a member too, but
// its handle is not associated with the port.
class Members {
public:
    Members(const Winsock& winsock, const CompletionPort& port) noexcept
        : winsock_(winsock), port_(port) {}

    // Returns the member with this SlotId, or null.
    [[nodiscard]] Member* find(SlotId socket) noexcept {
        if (socket.slot >= members_.size()) {
            return nullptr;
        }
        Member& member = members_[socket.slot];
        const bool same = member.socket != INVALID_SOCKET && member.id.packed() == socket.packed();
        return same ? &member : nullptr;
    }
    // Associates the socket with the completion port, with the socket's SlotId as the completion
    // key. Does nothing if the socket has joined already. Returns a Winsock error, or 0.
    [[nodiscard]] int join(const Socket& socket);
    // Forgets the socket, so that its later packets are ignored. Returns whether it was a member.
    // The handle is compared too, because a handle that never became a socket has the default
    // SlotId, which may be another socket's.
    bool leave(const Socket& socket) noexcept;
    // Takes the error that a readiness wait of the socket has found, or 0.
    [[nodiscard]] int take_error(const Socket& socket) noexcept;
    // Calls visit(Member, Request&) for each request of a lane that is in the kernel.
    template <class Visit>
    void each_request(Visit&& visit) const {
        for (const Member& member : members_) {
            for (Request* request : {member.receiving, member.sending}) {
                if (request != nullptr) {
                    visit(member, *request);
                }
            }
        }
    }

private:
    const Winsock& winsock_;
    const CompletionPort& port_;
    std::vector<Member> members_;  // by the socket's slot
};

}  // namespace iocp
