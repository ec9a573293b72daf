#pragma once

#include <vector>

#include "backend/windows/completion_port.hpp"
#include "backend/windows/request.hpp"

namespace iocp {

// The port's knowledge of a socket that has joined it.
struct Member {
    SOCKET socket{INVALID_SOCKET};
    SlotId id;
    Request* receiving{nullptr};  // the lane's request in the kernel
    Request* sending{nullptr};
    int pending_error{0};  // found by a readiness wait; the following read returns it
    bool skips{false};     // a request that finishes at once leaves no packet
    bool stream{false};
    bool pipe{false};
    // The program has shut the socket down for receiving. Waiting receives end with the end of the
    // stream.
    bool deaf{false};
};

// The sockets that have joined the port. A socket joins with its first request; Windows documents
// no way out, so its handle stays bound to the port, and only the name of its packets tells them
// from those of the handle's next owner. A watched one is a member whose handle stays unbound.
class Members {
public:
    Members(const Winsock& winsock, const CompletionPort& port) noexcept
        : winsock_(winsock), port_(port) {}

    // Returns the member of this name, or null.
    [[nodiscard]] Member* find(SlotId socket) noexcept {
        if (socket.slot >= members_.size()) {
            return nullptr;
        }
        Member& member = members_[socket.slot];
        const bool same = member.socket != INVALID_SOCKET && member.id.packed() == socket.packed();
        return same ? &member : nullptr;
    }
    // Joins the socket to the port. Its packets carry the socket's name from now on. Returns an
    // error of Winsock, or 0.
    [[nodiscard]] int join(const Socket& socket);
    // Forgets the socket, so that its later packets are ignored. Returns whether it was a member: a
    // handle that never became a socket has no name.
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
