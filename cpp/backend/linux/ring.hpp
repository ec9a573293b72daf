#pragma once

#include <cstdint>
#include <string>

#include "backend/linux/uring_abi.hpp"

namespace iocp::uring {

// One io_uring instance and its shared memory: entries in, entries out, no meaning.
class Ring {
public:
    Ring() = default;
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Sets the ring up for one issuing thread, disabled until enable(), or, `shared`, for any that
    // enter one at a time. Where the lock limit refuses `entries`, fewer are tried. Returns 0, or
    // an errno and, in `reason`, what it means.
    int open(unsigned entries, bool shared, std::string& reason);
    [[nodiscard]] bool is_open() const noexcept { return sqes_ != nullptr; }
    // The calling thread becomes the only one that may enter(). Returns an errno or 0.
    [[nodiscard]] int enable() const noexcept;

    // A cleared entry, or null while the submission queue is full or not open.
    [[nodiscard]] Sqe* next() noexcept;
    // Calls visit(Sqe&) for each entry that the kernel has not taken. Precondition: it takes none
    // meanwhile, for the ring is not enabled.
    template <class Visit>
    void each_queued(Visit&& visit) {
        for (std::uint32_t at = load_acquire(sq_head_); at != local_tail_; ++at) {
            visit(sqes_[at & sq_mask_]);
        }
    }
    // Makes the entries taken so far visible to enter(); returns how many are not submitted yet.
    unsigned publish() noexcept;
    // Returns what io_uring_enter(2) returned, or the negated errno.
    // After patience_us microseconds a single completion is enough, whatever wait_for says.
    int enter(unsigned submit, unsigned wait_for, std::int64_t timeout_ns,
              std::uint32_t patience_us = 0) const noexcept;
    int register_with(unsigned opcode, void* argument, unsigned count) const noexcept;

    // Calls take(const Cqe&) for each entry that is there, in order. One that it returns false for
    // stays, with those behind it: then the answer is false too.
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
    [[nodiscard]] bool overflowed() const noexcept {
        return (load_acquire(sq_flags_) & sq_cq_overflow) != 0;
    }

    [[nodiscard]] unsigned entries() const noexcept { return sq_entries_; }
    [[nodiscard]] unsigned flags() const noexcept { return setup_flags_; }
    [[nodiscard]] std::uint32_t features() const noexcept { return features_; }

private:
    static std::uint32_t load_acquire(const std::uint32_t* at) noexcept {
        return __atomic_load_n(at, __ATOMIC_ACQUIRE);
    }
    static void store_release(std::uint32_t* at, std::uint32_t value) noexcept {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    int setup(unsigned entries, std::uint32_t flags) noexcept;
    void give_back() noexcept;

    int fd_{-1};
    std::uint32_t setup_flags_{0};
    std::uint32_t features_{0};
    void* ring_memory_{nullptr};
    std::size_t ring_bytes_{0};
    Sqe* sqes_{nullptr};
    std::size_t sqes_bytes_{0};
    std::uint32_t* sq_head_{nullptr};
    std::uint32_t* sq_tail_{nullptr};
    std::uint32_t* sq_flags_{nullptr};
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
