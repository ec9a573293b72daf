#pragma once

#include <cassert>
#include <cstdint>
#include <utility>

#include "base/slot_table.hpp"
#include "ops/socket.hpp"

namespace iocp {

// A queue of sockets, linked through the sockets themselves, so that adding one needs no memory. A
// socket is in a queue at most once.
template <SocketLink Socket::*Link>
class SocketList {
public:
    explicit SocketList(SlotTable<Socket>& table) noexcept : table_(table) {}

    [[nodiscard]] bool empty() const noexcept { return first_ == SocketLink::last; }
    // Returns the first socket. Precondition: the list is not empty.
    [[nodiscard]] Socket& first() const noexcept { return table_.at(first_); }
    // Returns the last socket, or null if the list is empty.
    [[nodiscard]] const Socket* last() const noexcept {
        return empty() ? nullptr : &table_.at(last_);
    }
    void add(Socket& socket) noexcept {
        SocketLink& link = socket.*Link;
        if (link.listed()) {
            return;
        }
        link.next = SocketLink::last;
        (empty() ? first_ : (table_.at(last_).*Link).next) = socket.id.slot;
        last_ = socket.id.slot;
    }
    // Takes the first socket out. Precondition: the list is not empty.
    Socket& take() noexcept {
        assert(!empty());
        Socket& socket = first();
        first_ = std::exchange((socket.*Link).next, SocketLink::unlisted);
        return socket;
    }
    // Removes a socket from any place in the list, in linear time.
    void remove(Socket& socket) noexcept {
        if (!(socket.*Link).listed()) {
            return;
        }
        std::uint32_t* at = &first_;
        std::uint32_t before = SocketLink::last;
        while (*at != socket.id.slot) {
            before = *at;
            at = &(table_.at(*at).*Link).next;
        }
        *at = std::exchange((socket.*Link).next, SocketLink::unlisted);
        if (last_ == socket.id.slot) {
            last_ = before;
        }
    }

private:
    SlotTable<Socket>& table_;
    std::uint32_t first_{SocketLink::last};
    std::uint32_t last_{SocketLink::last};  // valid only while the list is not empty
};

}  // namespace iocp
