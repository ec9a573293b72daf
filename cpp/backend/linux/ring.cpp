#include "backend/linux/ring.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace iocp::uring {

namespace {

constexpr unsigned min_entries = 32;
constexpr unsigned completions_per_entry = 16;

}  // namespace

Ring::~Ring() { close(); }

void Ring::end() noexcept {
    if (fd_ >= 0) {
        (void)::close(std::exchange(fd_, -1));
    }
}

void Ring::close() noexcept {
    enabled_ = false;
    if (sqes_ != nullptr) {
        (void)::munmap(std::exchange(sqes_, nullptr), sqes_bytes_);
    }
    if (ring_memory_ != nullptr) {
        (void)::munmap(std::exchange(ring_memory_, nullptr), ring_bytes_);
    }
    end();
}

int Ring::open(unsigned entries, bool shared, std::string& reason) {
    // The ladder begins with the best flags; each step gives up a flag that older kernels lack.
    // With coop_taskrun a completion waits until the thread that submitted its request enters the
    // kernel again. A shared ring does without this flag, because that thread may stay away for
    // long.
    constexpr std::uint32_t own = setup_r_disabled | setup_coop_taskrun | setup_single_issuer;
    const std::uint32_t base = setup_cqsize | setup_clamp | setup_submit_all | (shared ? 0U : own);
    const std::uint32_t defer = shared ? 0U : setup_defer_taskrun;
    const std::array<std::uint32_t, 3> ladder{base | defer | setup_no_sqarray, base | defer, base};
    int code = 0;
    for (unsigned size = entries; size >= min_entries || size == entries; size /= 2) {
        for (const std::uint32_t flags : ladder) {
            close();  // the half-made ring of a failed attempt
            code = setup(size, flags);
            if (code != EINVAL) {
                break;
            }
        }
        if (code != ENOMEM) {
            break;
        }
    }
    if (code == 0 && (features_ & feat_ext_arg) != 0 && (features_ & feat_single_mmap) != 0 &&
        (features_ & feat_nodrop) != 0 && (features_ & feat_submit_stable) != 0) {
        return 0;
    }
    close();
    switch (code) {
        case 0:
        case EINVAL:
            reason = "io_uring of this kernel is too old (6.0 or later is needed)";
            break;
        case EPERM:
            reason =
                "io_uring_setup: EPERM (refused by a seccomp filter or by "
                "kernel.io_uring_disabled)";
            break;
        case ENOSYS:
            reason = "io_uring_setup: ENOSYS (not in this kernel, or hidden by a seccomp filter)";
            break;
        case ENOMEM:
            reason = "io_uring_setup: ENOMEM (RLIMIT_MEMLOCK leaves no room for a ring)";
            break;
        default:
            reason = std::string("io_uring_setup: ") + std::strerror(code);
    }
    return code != 0 ? code : EINVAL;
}

int Ring::setup(unsigned entries, std::uint32_t flags) noexcept {
    Params params{};
    params.flags = flags;
    params.cq_entries = entries * completions_per_entry;
    const long fd = ::syscall(sys_setup, entries, &params);
    if (fd < 0) {
        return errno;
    }
    fd_ = static_cast<int>(fd);
    features_ = params.features;
    const std::size_t sq_bytes = params.sq_off.array + (params.sq_entries * sizeof(std::uint32_t));
    const std::size_t cq_bytes = params.cq_off.cqes + (params.cq_entries * sizeof(Cqe));
    ring_bytes_ = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    void* memory = ::mmap(nullptr, ring_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          fd_, static_cast<off_t>(offset_sq_ring));
    if (memory == MAP_FAILED) {
        return errno;
    }
    ring_memory_ = memory;
    sqes_bytes_ = params.sq_entries * sizeof(Sqe);
    memory = ::mmap(nullptr, sqes_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                    static_cast<off_t>(offset_sqes));
    if (memory == MAP_FAILED) {
        return errno;
    }
    sqes_ = static_cast<Sqe*>(memory);
    auto* base = static_cast<std::byte*>(ring_memory_);
    const auto word = [base](std::uint32_t offset) {
        return reinterpret_cast<std::uint32_t*>(base + offset);
    };
    sq_head_ = word(params.sq_off.head);
    sq_tail_ = word(params.sq_off.tail);
    sq_mask_ = *word(params.sq_off.ring_mask);
    sq_entries_ = params.sq_entries;
    if ((flags & setup_no_sqarray) == 0) {
        sq_array_ = word(params.sq_off.array);
        for (std::uint32_t i = 0; i < sq_entries_; ++i) {
            sq_array_[i] = i;
        }
    }
    cq_head_ = word(params.cq_off.head);
    cq_tail_ = word(params.cq_off.tail);
    cq_mask_ = *word(params.cq_off.ring_mask);
    cqes_ = reinterpret_cast<Cqe*>(base + params.cq_off.cqes);
    local_tail_ = *sq_tail_;
    enabled_ = (flags & setup_r_disabled) == 0;
    return 0;
}

int Ring::enable() noexcept {
    const int code = -register_with(register_enable_rings, nullptr, 0);
    enabled_ = enabled_ || code == 0;
    return code;
}

Sqe* Ring::next() noexcept {
    if (!is_open() || local_tail_ - load_acquire(sq_head_) == sq_entries_) {
        return nullptr;
    }
    Sqe* entry = &sqes_[local_tail_ & sq_mask_];
    ++local_tail_;
    std::memset(entry, 0, sizeof *entry);
    return entry;
}

unsigned Ring::publish() noexcept {
    store_release(sq_tail_, local_tail_);
    return local_tail_ - load_acquire(sq_head_);
}

int Ring::enter(unsigned submit, unsigned wait_for, std::int64_t timeout_ns,
                std::uint32_t patience_us) const noexcept {
    Timespec time{};
    GetEventsArg argument{};
    argument.sigmask_sz = 8;
    argument.min_wait_usec = patience_us;
    if (timeout_ns >= 0) {
        time.sec = timeout_ns / 1'000'000'000;
        time.nsec = timeout_ns % 1'000'000'000;
        argument.ts = reinterpret_cast<std::uint64_t>(&time);
    }
    const long result = ::syscall(sys_enter, fd_, submit, wait_for, enter_getevents | enter_ext_arg,
                                  &argument, sizeof argument);
    return result < 0 ? -errno : static_cast<int>(result);
}

int Ring::register_with(unsigned opcode, void* argument, unsigned count) const noexcept {
    const long result = ::syscall(sys_register, fd_, opcode, argument, count);
    return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace iocp::uring
