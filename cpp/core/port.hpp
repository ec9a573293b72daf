#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "core/parts.hpp"
#include "core/port_figures.hpp"
#include "core/port_operations.hpp"
#include "core/port_sockets.hpp"
#include "core/port_timers.hpp"
#include "core/turn.hpp"
#include "core/workers.hpp"
#include "ops/buffer.hpp"

namespace iocp {

// The completion port. It owns the lock, the backend and the parts. One thread or several make its
// turns and take its records. The calls on sockets, operations, timers and figures are members of
// the objects that sockets(), operations(), timers() and figures() return.
//
// Callers hold the port's lock, unless a member needs no lock or takes the lock itself. A member
// that waits drops the lock meanwhile. No member ever calls into the application.
class Port {
public:
    Port(const PortOptions& options, BufferPool& pool, std::unique_ptr<Backend> backend);
    ~Port();
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }
    [[nodiscard]] Backend& backend() noexcept {
        assert(backend_ != nullptr);
        return *backend_;
    }
    [[nodiscard]] const Capabilities& capabilities() const noexcept { return capabilities_; }
    [[nodiscard]] PortSockets& sockets() noexcept { return sockets_; }
    [[nodiscard]] PortOperations& operations() noexcept { return operations_; }
    [[nodiscard]] PortTimers& timers() noexcept { return timers_; }
    [[nodiscard]] PortFigures& figures() noexcept { return figures_; }

    // Lets another thread run the port while the calling one lives.
    void release_thread() noexcept {
        if (backend_ != nullptr) {
            backend_->release();
        }
    }
    // Ends the wait of the thread that runs the port. If none waits, the next wait ends at once.
    void wake() noexcept;
    // Returns whether wake() was called since the last call of take_woken().
    bool take_woken() noexcept { return std::exchange(was_woken_, false); }
    [[nodiscard]] std::int64_t now() const noexcept {
        assert(backend_ != nullptr);
        return backend_->now();
    }
    // Returns the time `nanoseconds` from now.
    [[nodiscard]] std::int64_t after(std::int64_t nanoseconds) const noexcept {
        const std::int64_t base = backend_ == nullptr ? 0 : now();
        return nanoseconds < INT64_MAX - base ? base + nanoseconds : INT64_MAX;
    }

    // Sets the completion listener. Must precede the first operation whose `notifies` is true.
    void set_listener(CompletionListener& listener) noexcept {
        parts_.completions.set_listener(listener);
    }
    // Returns whether there are notified completions or ended muted sends. Needs no lock.
    [[nodiscard]] bool any_notified() const noexcept { return parts_.completions.any_notified(); }
    // Takes the notified completions and the ended muted sends, as a list linked by
    // `next_finished`. Any thread may take them, and must then release their memory and retire
    // them. They must be taken before the records of the same turn are handed out, because after
    // that their sockets may be retired.
    [[nodiscard]] Operation* take_notified() noexcept;

    // Makes one turn: starts the waiting operations, waits until `deadline` (negative: for ever) if
    // nothing is ready, and moves the ready records to `out`. Takes and drops the lock itself.
    Error poll(std::int64_t deadline, std::vector<Ready>& out);
    // Makes the same turn without a wait. The caller holds the lock, which is kept throughout.
    Error poll_now(std::vector<Ready>& out);
    // Makes a turn for a thread that waits for a result. Unlike after poll(), ready records stay
    // for the next poll(), or for the workers. If another thread leads, waits until that thread's
    // turn ends. `seen` is the value of turns() when the caller last checked its result.
    Error collect(std::int64_t deadline, std::uint64_t seen = 0);
    // Returns the number of turns made; 0 unless the port is shared. Needs no lock.
    [[nodiscard]] std::uint64_t turns() const noexcept { return shared() ? workers_->turns() : 0; }
    // Moves the ready records to `out` without making a turn.
    void take_ready(std::vector<Ready>& out);

    // What a worker of a shared port has to do next.
    enum class Next : std::uint8_t {
        record,   // hand out the record
        woken,    // wake() was called
        nothing,  // call wait_for_next()
        over,     // this thread alone must end the port
        ended,    // another thread has ended the port
    };
    // Returns whether the port is made for several threads. The members from here to wake_workers()
    // are for such a port only.
    [[nodiscard]] bool shared() const noexcept { return workers_.has_value(); }
    [[nodiscard]] Workers& workers() noexcept {
        assert(shared());
        return *workers_;
    }
    // Notes that the worker is done with its last record, and gives it the next one.
    [[nodiscard]] Next next(Worker& worker, Ready& out);
    // Waits once, at most until `deadline` (negative: for ever) or for `maximum` nanoseconds: makes
    // a turn as the leader, or sleeps until the worker is needed. Takes and drops the lock itself.
    Error wait_for_next(Worker& worker, std::int64_t deadline, std::int64_t maximum,
                        void* interrupt);
    // Makes every thread return from wait_for_next().
    void wake_workers() noexcept;

    // Refuses every further post and closes every socket.
    void begin_close(std::int64_t timeout);
    // Returns whether begin_close() is complete: nothing is open, outstanding, or to be handed out.
    [[nodiscard]] bool finished() const noexcept;
    // Returns whether nothing is outstanding or to be handed out, and no timer of the application
    // is armed.
    [[nodiscard]] bool quiet() const noexcept;
    // Cancels every operation and takes the last packet of every request. Returns false if the
    // kernel still holds a request, such as one of another thread's ring: the port's memory must
    // then not be freed. Takes and drops the lock itself.
    [[nodiscard]] bool terminate();
    // Destroys the backend. Precondition: no socket is open. Afterwards only figures may be read.
    void release_backend() noexcept;

private:
    Error lead(std::unique_lock<std::mutex>& lock, std::int64_t deadline);
    [[nodiscard]] std::int64_t until(std::int64_t deadline) const noexcept;

    std::mutex mutex_;
    const PortOptions options_;         // the parts refer to it
    std::unique_ptr<Backend> backend_;  // null after release_backend()
    const Capabilities capabilities_;
    Parts parts_;
    Turn turn_;
    PortSockets sockets_;
    PortOperations operations_;
    PortTimers timers_;
    PortFigures figures_;
    std::optional<Workers> workers_;  // only where several threads run the port
    bool was_woken_{false};           // wake() was called since take_woken()
    bool ended_{false};               // a thread of a shared port got Next::over and ends the port
    bool abandoned_{false};           // terminate() left operations with the kernel
};

}  // namespace iocp
