#pragma once

#include <Python.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/room.hpp"

namespace iocp::aio {

// The timers of a loop, the earliest first; timers of one time are in the order of their calls.
// Owns a reference to each handle. A cancelled timer stays until it is the first, or until more
// than half of many are cancelled. A lock of its owner guards it.
class TimerHeap {
public:
    TimerHeap() = default;
    ~TimerHeap();
    TimerHeap(const TimerHeap&) = delete;
    TimerHeap& operator=(const TimerHeap&) = delete;

    // Makes room for one more timer. May throw, and then changes nothing.
    void make_room() { iocp::make_room(entries_, 1); }
    // Adds a timer that is due at `due` seconds, not NaN, and takes the handle's reference over.
    // Precondition: there is room.
    void push(double due, PyObject* handle) noexcept;

    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    // Returns when the first timer is due. Precondition: there is one.
    [[nodiscard]] double first_due() const noexcept { return entries_.front().due; }
    // Returns the first timer's handle, without a reference. Precondition: there is one.
    [[nodiscard]] PyObject* first() const noexcept { return entries_.front().handle; }
    // Takes the first timer's handle with its reference. Precondition: there is one.
    [[nodiscard]] PyObject* take_first() noexcept;

    // Counts a timer that was cancelled here, or one that has left.
    void add_cancelled() noexcept { ++cancelled_; }
    void remove_cancelled() noexcept { cancelled_ -= cancelled_ != 0 ? 1 : 0; }
    [[nodiscard]] std::size_t cancelled() const noexcept { return cancelled_; }
    // Returns whether removing the cancelled timers is worth a pass over all, as asyncio decides
    // it.
    [[nodiscard]] bool mostly_cancelled() const noexcept {
        return entries_.size() > few && 2 * cancelled_ > entries_.size();
    }
    // Moves the handles that are `gone` to `out`, with their references, and counts no timer as
    // cancelled any more. `gone` runs no code of Python. May throw, and then changes nothing.
    template <class Gone>
    void remove_if(Gone&& gone, std::vector<PyObject*>& out) {
        out.reserve(out.size() + entries_.size());
        const auto last = std::partition(entries_.begin(), entries_.end(),
                                         [&](const Entry& entry) { return !gone(entry.handle); });
        for (auto entry = last; entry != entries_.end(); ++entry) {
            out.push_back(entry->handle);
        }
        entries_.erase(last, entries_.end());
        std::make_heap(entries_.begin(), entries_.end(), later);
        cancelled_ = 0;
    }

    void swap(TimerHeap& other) noexcept;
    // Appends a new reference to each handle, in no order. Precondition: `out` has room for them.
    void copy_to(std::vector<PyObject*>& out) const noexcept;
    int traverse(visitproc visit, void* argument) const;

private:
    struct Entry {
        double due;
        std::uint64_t order;  // of the call
        PyObject* handle;
    };

    // The number of timers up to which cancelled ones do no harm.
    static constexpr std::size_t few = 100;

    static bool later(const Entry& one, const Entry& other) noexcept {
        return one.due != other.due ? one.due > other.due : one.order > other.order;
    }

    std::vector<Entry> entries_;  // a heap by `later`
    std::uint64_t calls_{0};      // push() so far
    std::size_t cancelled_{0};
};

}  // namespace iocp::aio
