#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/linux/entry_memory.hpp"
#include "backend/linux/ring.hpp"

namespace iocp {

// The entries on their way to the kernel, which takes them in the order of push() whatever room the
// ring has. Other threads push under the port's lock; only enter() goes without it.
class Submission {
public:
    explicit Submission(uring::Ring& ring) noexcept : ring_(ring) {}

    // Without memory it throws, and the entry is not pushed.
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
    // Returns memory for the next entry. It stays valid until the kernel has taken that entry.
    [[nodiscard]] std::byte* memory(std::size_t bytes) { return memory_.take(bytes); }
    // Lets later entries have the memory of the earlier ones, if the kernel has taken them all.
    void reuse_memory() noexcept;

    // Gives the entries pushed so far to the next enter(), as far as the ring has room.
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
    // Forgets the entries that the kernel has not taken; their ring is gone.
    void clear() noexcept;

private:
    uring::Ring& ring_;
    // Entries that found the ring full, in order. Later entries go behind them.
    std::vector<uring::Sqe> backlog_;
    EntryMemory memory_;
    unsigned to_submit_{0};     // published and not taken yet
    unsigned queued_sends_{0};  // pushed since the last publish()
    unsigned new_sends_{0};     // the next enter() submits them
};

}  // namespace iocp
