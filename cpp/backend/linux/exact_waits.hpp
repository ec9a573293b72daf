#pragma once

#include <cstdint>
#include <unordered_map>

#include "backend/linux/slot_set.hpp"

namespace iocp {

// The epoll instances that a ring polls in place of some sockets: those whose peer has shut down
// its side, or that keep an error (an unread error queue, a closed connection). A poll by io_uring
// reports both even if it did not ask for them, so it would end at once, again and again. An epoll
// instance is ready for exactly the requested events, and for a new error. Each wait has its own
// instance. An operation needs one after a poll that ended without a requested event.
class ExactWaits {
public:
    ExactWaits() = default;
    ~ExactWaits() { clear(); }
    ExactWaits(const ExactWaits&) = delete;
    ExactWaits& operator=(const ExactWaits&) = delete;

    // Makes later calls of need() for the operation in this slot take no memory.
    void reserve(std::uint32_t slot) { needed_.reserve(slot); }
    // Notes that the next poll of the operation in this slot must be exact.
    void need(std::uint32_t slot) { needed_.insert(slot); }
    void need_no_more(std::uint32_t slot) noexcept { needed_.erase(slot); }
    [[nodiscard]] bool needed(std::uint32_t slot) const noexcept { return needed_.contains(slot); }

    // Returns the descriptor to poll for POLLIN under this name, or a negative error number.
    // `stands`: the socket has only an error or a hang-up, and the instance reports only the next
    // one.
    int begin(std::uint64_t name, int fd, std::uint32_t events, bool& stands);
    // Closes the instance of the request of this name, if it has one. The request is over.
    void over(std::uint64_t name) noexcept;
    // Closes all instances; the ring that polled them is gone. The needs stay: the operations are
    // started again.
    void clear() noexcept;

private:
    static void close(int instance) noexcept;

    std::unordered_map<std::uint64_t, int> instances_;  // by the name of the request
    SlotSet needed_;  // operations whose last poll ended without a requested event
};

}  // namespace iocp
