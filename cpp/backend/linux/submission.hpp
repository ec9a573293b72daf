#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/linux/entry_memory.hpp"
#include "backend/linux/ring.hpp"

namespace iocp {

// The submission entries on their way to the kernel, which takes them in the order of push() even
// if the ring is full for a while. Every call but enter() needs the port's lock.
class Submission {
public:
    explicit Submission(uring::Ring& ring) noexcept : ring_(ring) {}

    // Adds an entry behind all others. If memory runs out, throws and adds nothing.
    void push(const uring::Sqe& entry) {
        uring::Sqe* slot = backlog_.empty() ? ring_.next() : nullptr;
        if (slot == nullptr) {
            backlog_.push_back(entry);
            return;
        }
        *slot = entry;
    }
    // Pushes a send, which usually completes while it is submitted.
    void push_send(const uring::Sqe& entry) {
        push(entry);
        ++queued_sends_;
    }
    // Returns memory for the data of the next entry, valid until the kernel has taken that entry.
    [[nodiscard]] std::byte* memory(std::size_t bytes) { return memory_.take(bytes); }
    // Reuses the memory of earlier entries for later ones, if the kernel has taken all entries.
    void reuse_memory() noexcept;

    // Puts the entries pushed so far into the ring, as far as it has room, for the next enter().
    void publish() noexcept;
    // Returns whether the ring had no room for some entries at the last publish().
    [[nodiscard]] bool has_backlog() const noexcept { return !backlog_.empty(); }
    // Submits the published entries, and returns when a completion may be there, after timeout_ns
    // (negative: no limit), or at a signal. With 0 it returns at once.
    void enter(std::int64_t timeout_ns) noexcept;

    // Calls visit(Sqe&) for each entry that the kernel has not taken. Precondition: no thread
    // enters the ring meanwhile.
    template <class Visit>
    void each(Visit&& visit) {
        ring_.each_queued(visit);
        std::for_each(backlog_.begin(), backlog_.end(), visit);
    }
    // Forgets the entries that the kernel has not taken, because their ring is closed.
    void clear() noexcept;

private:
    uring::Ring& ring_;
    // Entries that found the ring full, in order. Later entries go behind them.
    std::vector<uring::Sqe> backlog_;
    EntryMemory memory_;
    unsigned to_submit_{0};     // entries that are published and not taken yet
    unsigned queued_sends_{0};  // sends pushed since the last publish()
    unsigned new_sends_{0};     // sends that the next enter() submits
};

}  // namespace iocp
