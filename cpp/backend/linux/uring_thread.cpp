// UringBackend: the one thread that may enter the ring, and the next one after it has ended.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>
#include <new>

#include "backend/linux/uring_backend.hpp"

namespace iocp {

namespace {

// What a thread that has ended leaves to the kernel is done a short while later.
constexpr int attempts = 200;
constexpr timespec pause{0, 1'000'000};

// What the rings know the calling thread by. Its end is noted before the kernel gives its id away;
// a forked child has another id.
const std::shared_ptr<IssuingThread>& this_thread() {
    struct Own {
        std::shared_ptr<IssuingThread> self;
        std::uint32_t fork_generation{0};
        Own() = default;
        ~Own() {
            if (self != nullptr) {
                self->ended.store(true);
            }
        }
        Own(const Own&) = delete;
        Own& operator=(const Own&) = delete;
    };
    static thread_local Own own;
    if (own.self == nullptr || own.fork_generation != fork_generation()) {
        own.self = std::make_shared<IssuingThread>(static_cast<int>(::syscall(SYS_gettid)));
        own.fork_generation = fork_generation();
    }
    return own.self;
}

// Tries until it is true, or the short while is over.
template <class Try>
bool in_time(Try&& attempt) {
    for (int i = 0; i < attempts; ++i) {
        if (attempt()) {
            return true;
        }
        (void)::nanosleep(&pause, nullptr);
    }
    return attempt();
}

// Whether no thread of this process has the id of that one any more: it is out of the kernel.
bool gone(const IssuingThread& thread) noexcept {
    return ::syscall(SYS_tgkill, ::getpid(), thread.id, 0) != 0 && errno == ESRCH;
}

}  // namespace

// What a ring locked counts against the next one until a while after it is closed.
int UringBackend::open_ring_in_time(std::string& reason) {
    int code = 0;
    (void)in_time([&] {
        code = open_ring(reason);
        return code != ENOMEM;
    });
    return code;
}

Error UringBackend::claim() {
    if (shared_) {
        return {};
    }
    try {
        return claim_ring();
    } catch (const std::bad_alloc&) {
        return {Fault::resource, ENOMEM, "no memory for a thread to run the port"};
    }
}

Error UringBackend::claim_ring() {
    const std::shared_ptr<IssuingThread>& self = this_thread();
    if (!ring_->is_open() || (enabled_ && owner_ != self)) {
        // One that was just joined may still be on its way out of the kernel, where its requests
        // are ended. One that has ended and seems to stay has left its id to another thread.
        if (ring_->is_open() && !in_time([this] { return gone(*owner_); }) && !owner_->ended) {
            return runs_elsewhere;
        }
        if (Error error = take_over()) {
            return error;
        }
    }
    if (!enabled_) {
        if (const int code = ring_->enable(); code != 0) {
            return {Fault::system, code, nullptr};
        }
        enabled_ = true;
        owner_ = self;
    }
    return {};
}

bool UringBackend::is_owner() const noexcept { return owner_ == this_thread(); }

bool UringBackend::claimable() const noexcept {
    try {
        return owner_ == nullptr || owner_ == this_thread() || owner_->ended || gone(*owner_);
    } catch (const std::bad_alloc&) {
        return false;  // a thread that has no memory to be known by
    }
}

// The kernel ended every request of the thread that is gone and left their completions in the old
// ring's memory, as far as it has room; no other thread could enter that ring.
Error UringBackend::take_over() {
    if (ring_->is_open()) {
        collect(carried_);
        ring_ = std::make_unique<uring::Ring>();
    }
    drop_buffers();
    standing_.clear();
    exact_waits_.clear();
    would_block_.clear();
    in_kernel_.clear();
    cancels_.clear();
    backlog_.clear();  // every request is started again
    queued_sends_ = 0;
    std::string reason;
    if (open_ring_in_time(reason) != 0) {
        return {Fault::resource, ENOMEM,
                "the thread that ran this port has ended, and the system refuses another one its "
                "ring: RLIMIT_MEMLOCK leaves no room for it"};
    }
    if (!restore_pins()) {
        ring_ = std::make_unique<uring::Ring>();
        return {Fault::resource, ENOMEM,
                "the thread that ran this port has ended, and the system "
                "refuses another one its registered memory"};
    }
    took_over_ = true;
    return {};
}

}  // namespace iocp
