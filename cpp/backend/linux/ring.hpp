#pragma once

#include <cstdint>
#include <string>

#include "backend/linux/uring_abi.hpp"

namespace iocp::uring {

// One io_uring instance and the memory that it shares with the kernel. This class moves entries in
// and out, and does not interpret them.
class Ring {
public:
    Ring() = default;
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Sets the ring up for one issuing thread; the ring stays disabled until enable(). A `shared`
    // ring is enabled at once, and any thread may enter it, one at a time. If RLIMIT_MEMLOCK
    // refuses `entries`, open() tries fewer. Returns 0, or an errno with its meaning in `reason`.
    // Precondition: the ring is not open.
    int open(unsigned entries, bool shared, std::string& reason);
    [[nodiscard]] bool is_open() const noexcept { return sqes_ != nullptr; }
    // Makes the kernel end all requests. Their completions can still be taken, until close().
    void end() noexcept;
    // Closes the ring, which ends all its requests. Their completions are lost.
    void close() noexcept;
    // Binds the ring to the calling thread: no other thread may enter(). Returns an errno or 0.
    [[nodiscard]] int enable() noexcept;
    // Returns whether the ring is open and a thread may enter() it.
    [[nodiscard]] bool enabled() const noexcept { return enabled_; }

    // Returns a cleared submission entry, or null if the queue is full or the ring is not open.
    [[nodiscard]] Sqe* next() noexcept;
    // Calls visit(Sqe&) for each submission entry that the kernel has not taken. Precondition: no
    // thread enters the ring, so the kernel takes none meanwhile.
    template <class Visit>
    void each_queued(Visit&& visit) {
        for (std::uint32_t at = load_acquire(sq_head_); at != local_tail_; ++at) {
            visit(sqes_[at & sq_mask_]);
        }
    }
    // Makes the entries that next() has returned visible to the kernel. Returns how many entries
    // the kernel has not taken yet.
    unsigned publish() noexcept;
    // Returns the result of io_uring_enter(2), or the negated errno. The wait ends after wait_for
    // completions, or after patience_us microseconds with a single one.
    int enter(unsigned submit, unsigned wait_for, std::int64_t timeout_ns,
              std::uint32_t patience_us = 0) const noexcept;
    int register_with(unsigned opcode, void* argument, unsigned count) const noexcept;

    // Calls take(const Cqe&) for each completion entry, in order, until take() returns false. The
    // entry for which it returned false, and those behind it, stay in the ring. Returns whether all
    // entries were taken.
    template <class Take>
    bool each_completion(Take&& take) {
        std::uint32_t head = *cq_head_;
        for (;;) {
            const std::uint32_t tail = load_acquire(cq_tail_);
            if (head == tail) {
                return true;
            }
            bool taken = true;
            while (head != tail && (taken = take(cqes_[head & cq_mask_]))) {
                ++head;
            }
            store_release(cq_head_, head);
            if (!taken) {
                return false;
            }
        }
    }

    [[nodiscard]] unsigned entries() const noexcept { return sq_entries_; }
    [[nodiscard]] std::uint32_t features() const noexcept { return features_; }

private:
    static std::uint32_t load_acquire(const std::uint32_t* at) noexcept {
        return __atomic_load_n(at, __ATOMIC_ACQUIRE);
    }
    static void store_release(std::uint32_t* at, std::uint32_t value) noexcept {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    int setup(unsigned entries, std::uint32_t flags) noexcept;

    int fd_{-1};
    bool enabled_{false};
    std::uint32_t features_{0};
    void* ring_memory_{nullptr};
    std::size_t ring_bytes_{0};
    Sqe* sqes_{nullptr};
    std::size_t sqes_bytes_{0};
    std::uint32_t* sq_head_{nullptr};
    std::uint32_t* sq_tail_{nullptr};
    std::uint32_t* sq_array_{nullptr};
    std::uint32_t sq_mask_{0};
    std::uint32_t sq_entries_{0};
    std::uint32_t local_tail_{0};
    std::uint32_t* cq_head_{nullptr};
    std::uint32_t* cq_tail_{nullptr};
    std::uint32_t cq_mask_{0};
    Cqe* cqes_{nullptr};
};

}  // namespace iocp::uring
