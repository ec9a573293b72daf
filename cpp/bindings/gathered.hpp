#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/room.hpp"
#include "bindings/hand_over.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

// The completions that a call of get() or get_batch() has gathered so far. If the call ends in an
// exception, the next call gets them.
class Gathered {
public:
    explicit Gathered(PortObject& port) : port_(port) {}
    ~Gathered() { give_back(); }
    Gathered(const Gathered&) = delete;
    Gathered& operator=(const Gathered&) = delete;

    // Gives all gathered completions back to the port, for the get() of any thread.
    void give_back() noexcept {
        if (taken_.empty()) {
            return;
        }
        {
            // There is room for the completions, because expect() has reserved it.
            const std::lock_guard guard(port_.links_mutex);
            auto& unclaimed = port_.unclaimed;
            unclaimed.insert(unclaimed.begin(), taken_.begin(), taken_.end());
        }
        taken_.clear();
        if (port_.core->shared() && !port_.closed && !port_.forked()) {
            // Wakes the port's threads, one of which, even the leader, may sleep in get().
            locked(port_, [this] {
                port_.core->wake_workers();
                return 0;
            });
        }
    }
    void take_unclaimed(std::size_t maximum) {
        drop_claimed(port_);
        const std::lock_guard guard(port_.links_mutex);
        auto& unclaimed = port_.unclaimed;
        const auto count = static_cast<std::ptrdiff_t>(std::min(maximum, unclaimed.size()));
        taken_.assign(unclaimed.begin(), unclaimed.begin() + count);
        unclaimed.erase(unclaimed.begin(), unclaimed.begin() + count);
    }
    // Reserves memory for one more completion, in this Gathered and in the port, to which
    // give_back() may have to return all gathered completions. Throws before anything is taken.
    void expect() {
        make_room(taken_, 1);
        const std::lock_guard guard(port_.links_mutex);
        make_room(port_.unclaimed, taken_.size() + 1);
    }
    // Adds a completion. Precondition: expect() was called since the last add().
    void add(PyObject* completion) noexcept { taken_.push_back(completion); }
    [[nodiscard]] std::size_t size() const noexcept { return taken_.size(); }
    // Hands all gathered completions to the caller, which then owns the references.
    std::vector<PyObject*> give() noexcept { return std::exchange(taken_, {}); }

private:
    PortObject& port_;
    std::vector<PyObject*> taken_;
};

}  // namespace iocp::py
