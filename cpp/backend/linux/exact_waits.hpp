#pragma once

#include <cstdint>
#include <unordered_map>

#include "backend/linux/slot_set.hpp"

namespace iocp {

// The epoll instances that a ring polls in place of some sockets: those whose peer has shut down
// its side, or that keep an error (an unread error queue, a closed connection). A poll by io_uring
// reports a hang-up or an error even if it did not ask for it, so on such a socket it would end at
// once, again and again. An epoll instance is ready for exactly the requested events, and for a new
// error. Each wait has its own instance. An operation needs an instance after a poll that ended
// without a requested event.
class ExactWaits {
public:
    ExactWaits() = default;
    ~ExactWaits() { clear(); }
    ExactWaits(const ExactWaits&) = delete;
    ExactWaits& operator=(const ExactWaits&) = delete;

    // Makes later calls of need() for the operation in this slot take no memory.
    void reserve(std::uint32_t slot) { needed_.reserve(slot); }
    // Notes that the next poll of the operation in this slot must use an epoll instance.
    void need(std::uint32_t slot) { needed_.insert(slot); }
    void need_no_more(std::uint32_t slot) noexcept { needed_.erase(slot); }
    [[nodiscard]] bool needed(std::uint32_t slot) const noexcept { return needed_.contains(slot); }

    // Makes an epoll instance for the socket `fd` and the request whose user_data is `name`.
    // Returns the descriptor to poll for POLLIN, or a negated errno. `stands`: the socket has only
    // an error or a hang-up, and the instance reports only the next one.
    int begin(std::uint64_t name, int fd, std::uint32_t events, bool& stands);
    // Closes the epoll instance of a request that has ended, if it has one.
    void over(std::uint64_t name) noexcept;
    // Closes all instances, because the ring that polled them is closed. Keeps the notes of need(),
    // because the operations are started again.
    void clear() noexcept;

private:
    static void close(int instance) noexcept;

    std::unordered_map<std::uint64_t, int> instances_;  // by the user_data of the request
    SlotSet needed_;  // operations whose last poll ended without a requested event
};

}  // namespace iocp
