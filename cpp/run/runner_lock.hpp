#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/process.hpp"

namespace iocp::run {

// The purpose for which a thread runs a port. `wait`: the thread has the port on loan, and gives it
// up as soon as a contender wants to run it.
enum class Purpose : std::uint8_t { run, wait };

// Says which thread runs a port that is made for one: its runner. One mutex guards everything, so
// that no thread ever sees a runner without its purpose.
class RunnerLock {
public:
    enum class Answer : std::uint8_t { acquired, lent, refused };

    // Makes the calling thread the runner. Returns false if the port has a runner already, even if
    // that is this thread. Purpose::wait also fails while a contender waits for the port.
    [[nodiscard]] bool acquire(Purpose purpose);
    // Makes the calling contender the runner. `lent`: the present runner only waits, and will
    // release the port.
    [[nodiscard]] Answer contend();
    // Makes the port free again. Precondition: the calling thread acquired the port.
    void release() noexcept;

    // Returns whether the calling thread is the runner. An outer call may have made it so.
    [[nodiscard]] bool mine() const;
    // Returns whether a thread contends for the port.
    [[nodiscard]] bool contended() const;
    // Returns whether the calling thread has the port on loan and a thread contends for it. This is
    // cheap without contenders, because a host asks between any two records.
    [[nodiscard]] bool gives_way() const;
    void begin_contending();
    void end_contending() noexcept;

private:
    // Returns whether this process is a forked child of the one that made the lock. The child must
    // not lock the mutex, because a thread that the fork did not copy may hold it for ever.
    [[nodiscard]] bool forked() const noexcept { return generation_ != fork_generation(); }

    mutable std::mutex mutex_;
    // The id of no thread if the port is free. Written under the mutex, each time by the thread
    // that becomes the runner or ceases to be it. So a thread needs no mutex to see whether it is
    // the runner itself.
    std::atomic<std::thread::id> runner_{};
    Purpose purpose_{Purpose::run};
    std::atomic<unsigned> contenders_{0};  // written under the mutex
    const std::uint32_t generation_{fork_generation()};
};

}  // namespace iocp::run
