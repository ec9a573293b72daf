#include "backend/linux/issuer.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "backend/linux/in_time.hpp"
#include "base/process.hpp"

namespace iocp {

struct Issuer::Thread {
    // Returns whether no thread of this process has the id any more, which means that the thread
    // has left the kernel.
    [[nodiscard]] bool gone() const noexcept {
        return ::syscall(SYS_tgkill, ::getpid(), id, 0) != 0 && errno == ESRCH;
    }

    const int id{static_cast<int>(::syscall(SYS_gettid))};
    // Set when the thread ends, before the kernel reuses its id. The thread may still be on its way
    // out of the kernel.
    std::atomic<bool> ended{false};
};

// Holds the Thread object of the calling thread (thread_local). The destructor notes the thread's
// end.
struct Issuer::Own {
    Own() = default;
    ~Own() {
        if (thread != nullptr) {
            thread->ended.store(true);
        }
    }
    Own(const Own&) = delete;
    Own& operator=(const Own&) = delete;
    // Returns whether `thread` is the calling thread. After a fork it is not, because the child's
    // thread has another id.
    [[nodiscard]] bool is_valid() const noexcept {
        return thread != nullptr && generation == fork_generation();
    }

    std::shared_ptr<Thread> thread;
    std::uint32_t generation{0};  // the fork_generation() when `thread` was made
};

Issuer::Own& Issuer::own() noexcept {
    static thread_local Own own;
    return own;
}

Issuer Issuer::this_thread() {
    Own& mine = own();
    if (!mine.is_valid()) {
        mine.thread = std::make_shared<Thread>();
        mine.generation = fork_generation();
    }
    Issuer result;
    result.thread_ = mine.thread;
    return result;
}

bool Issuer::is_this_thread() const noexcept {
    const Own& mine = own();
    return thread_ == mine.thread && mine.is_valid();
}

bool Issuer::may_be_this_thread() const noexcept {
    return thread_ == nullptr || is_this_thread() || thread_->ended || thread_->gone();
}

// Waits until the issuer's thread id is gone. The kernel reuses ids: if the id still exists after
// the wait, another thread may have it. Then `ended` shows whether the issuer has ended.
bool Issuer::ends_in_time() const noexcept {
    return in_time([this] { return thread_->gone(); }) || thread_->ended;
}

}  // namespace iocp
