#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "backend/windows/listener.hpp"
#include "backend/windows/members.hpp"

namespace iocp {

// The listeners of the port, with their posted accepts. A closed listener stays until its last
// accept has reported, because the kernel writes to the accepts' addresses until then.
class Listeners {
public:
    // `posted` is the number of accepts that stay posted for a subscription.
    Listeners(const Winsock& winsock, RequestPool& requests, Members& members,
              unsigned posted) noexcept
        : winsock_(winsock), requests_(requests), members_(members), posted_(posted) {}

    // Returns the listener of the socket with this SlotId, or null.
    [[nodiscard]] Listener* find(SlotId socket) noexcept;
    [[nodiscard]] bool empty() const noexcept { return listeners_.empty(); }
    // Takes a connection that has arrived, or posts accepts and waits for one. Precondition: the
    // socket has joined the completion port.
    StartResult accept(Operation& op);
    // Cancels the posted accepts; connections that have arrived stay.
    void cancel(SlotId socket) noexcept;
    // Takes the packet of a posted accept. Appends to `out` the packet of the operation that waits
    // for a connection, if there is one.
    void complete(Listener& listener, Request& request, std::vector<Packet>& out);
    // Ends the listener of a socket that is closed or detached. The Listener stays until its last
    // packet.
    void end(SlotId socket);
    // Returns the bytes that the posted accepts lock.
    [[nodiscard]] std::size_t internal_bytes() const noexcept;

private:
    int post_accepts(Listener& listener);
    int post_accept(Listener& listener);
    void accept_finished(Listener& listener, Request& request, int code);
    void forget(const Listener& listener);

    const Winsock& winsock_;
    RequestPool& requests_;
    Members& members_;
    const unsigned posted_;
    std::vector<std::unique_ptr<Listener>> listeners_;  // closed ones too, until their last packet
};

}  // namespace iocp
