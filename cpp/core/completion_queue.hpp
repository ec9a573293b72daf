#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/effects.hpp"
#include "core/metrics.hpp"
#include "core/ready_queue.hpp"

namespace iocp {

// A completion listener: notified at once when an operation whose `notifies` is true ends.
class CompletionListener {
public:
    CompletionListener() = default;
    virtual ~CompletionListener() = default;
    CompletionListener(const CompletionListener&) = delete;
    CompletionListener& operator=(const CompletionListener&) = delete;

    // Called with the port's lock held, in any thread. Returning true makes the operation a
    // notified completion, which does not join the queue.
    virtual bool finished(Operation& op) noexcept = 0;
};

// The result of withhold(). no: hand the record out. yes: the queue keeps the record, because its
// socket is paused or has earlier records kept. behind: there is no memory to keep the record; hand
// out the socket's kept records first, then this one.
enum class Withheld : std::uint8_t { no, yes, behind };

// The completions of a port. They are records in order, notified completions, and the records of
// sockets whose reading is paused (R37), which are kept until the reading resumes.
class CompletionQueue {
public:
    CompletionQueue(Metrics& metrics, Worklist& work) noexcept : metrics_(metrics), work_(work) {}

    // Reserves room for `count` more records. Returns false without memory.
    [[nodiscard]] bool reserve(std::size_t count) noexcept { return ready_.reserve(count); }
    // Adds a record. Precondition: reserve() has returned true for this record.
    void push(Ready&& ready) noexcept {
        if (metrics_.tracing() && ready.op != nullptr && ready.what != Ready::What::completed) {
            metrics_.note(*ready.op, Stage::yielded, ready.slice.length());
        }
        ready_.push(std::move(ready));
    }
    // Notifies the completion listener of a finished operation, or queues its record. A muted send
    // does neither, unless it is the first of its socket to fail.
    void completed(Operation& op) noexcept;
    // Queues the `closed` record of a socket, which is the socket's last record.
    void closed(Socket& socket) noexcept { ready_.closed(socket); }

    // Queues the records that waited for memory, of operations and sockets that have ended. Returns
    // false if one still waits.
    [[nodiscard]] bool settle_owed() noexcept { return ready_.settle_owed(); }
    [[nodiscard]] bool empty() const noexcept { return ready_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return ready_.size(); }
    // Returns the records in order. Callers take them from the front.
    [[nodiscard]] std::vector<Ready>& records() noexcept { return ready_.records(); }

    void set_listener(CompletionListener& listener) noexcept { listener_ = &listener; }
    // Returns whether there are notified completions or ended muted sends. Needs no lock.
    [[nodiscard]] bool any_notified() const noexcept {
        return any_notified_.load(std::memory_order_relaxed);
    }
    // Returns whether ended muted sends still have their leases.
    [[nodiscard]] bool any_muted() const noexcept { return any_muted_; }
    // Takes the notified completions and the ended muted sends, as a list linked by
    // `next_finished`.
    [[nodiscard]] Operation* take_notified() noexcept;

    // From pause() to end_pause() the records of the socket's subscription are withheld.
    void pause(Socket& socket) noexcept { set_pause(socket, true, socket.withholding); }
    void end_pause(Socket& socket) noexcept {
        set_pause(socket, false, socket.withholding);
        if (!socket.resuming) {
            resume_later(socket);
        }
    }
    // Queues the record `resumed`, whose hand-out gives the socket's kept records back. Does
    // nothing while the socket is paused, or if no record is kept.
    void resume_later(Socket& socket) noexcept;
    // Returns whether withhold() must be called with a record before it is handed out. Needs no
    // lock.
    [[nodiscard]] bool may_withhold(const Ready& ready) const noexcept {
        return paused_sockets_.load(std::memory_order_relaxed) != 0 && ready.of_subscription();
    }
    [[nodiscard]] Withheld withhold(Ready& ready) noexcept;
    // Takes the first kept record of a socket, for the thread that handles a `resumed` record.
    // Returns false if no record is left or the socket is paused again. A thread that stops earlier
    // must call resume_later().
    [[nodiscard]] bool take_withheld(Socket& socket, Ready& out) noexcept;
    // Drops the kept records of a socket that is retired.
    void forget(Socket& socket) noexcept;
    // Drops every record, at the port's end.
    void clear() noexcept;

private:
    void set_pause(Socket& socket, bool paused, bool withholding) noexcept;
    [[nodiscard]] static bool reports(const Operation& op) noexcept;

    Metrics& metrics_;
    Worklist& work_;
    ReadyQueue ready_;
    CompletionListener* listener_{nullptr};  // set before any `notifies` is true
    // Notified completions and ended muted sends, a list by `next_finished`.
    Operation* notified_first_{nullptr};
    Operation* notified_last_{nullptr};      // null exactly when notified_first_ is
    std::atomic<bool> any_notified_{false};  // the list of notified completions is not empty
    bool any_muted_{false};                  // the list has muted sends
    std::unordered_map<std::uint32_t, std::deque<Ready>> withheld_;  // kept records, by socket slot
    std::atomic<std::size_t> paused_sockets_{0};  // sockets that are paused or have kept records
};

}  // namespace iocp
