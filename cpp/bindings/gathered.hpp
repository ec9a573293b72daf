#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "bindings/objects.hpp"

namespace iocp::py {

// What a call has gathered so far; when it ends in an exception, the next call gets it.
class Gathered {
public:
    explicit Gathered(PortObject& port) : port_(port) {}
    ~Gathered() {
        if (!taken_.empty()) {
            const std::lock_guard guard(port_.links_mutex);
            auto& unclaimed = port_.unclaimed;
            unclaimed.insert(unclaimed.begin(), taken_.begin(), taken_.end());
        }
    }
    Gathered(const Gathered&) = delete;
    Gathered& operator=(const Gathered&) = delete;

    void take_unclaimed(std::size_t most) {
        drop_claimed(port_);
        const std::lock_guard guard(port_.links_mutex);
        auto& unclaimed = port_.unclaimed;
        const auto count = static_cast<std::ptrdiff_t>(std::min(most, unclaimed.size()));
        taken_.assign(unclaimed.begin(), unclaimed.begin() + count);  // its room stays for them
        unclaimed.erase(unclaimed.begin(), unclaimed.begin() + count);
    }
    // Makes room for one more, here and for the next call. Throws before anything is taken.
    void expect() {
        taken_.reserve(taken_.size() + 1);
        const std::lock_guard guard(port_.links_mutex);
        port_.unclaimed.reserve(port_.unclaimed.size() + taken_.size() + 1);
    }
    // Precondition: expected.
    void add(PyObject* completion) noexcept { taken_.push_back(completion); }
    [[nodiscard]] std::size_t size() const noexcept { return taken_.size(); }
    // The caller's from here on.
    std::vector<PyObject*> give() noexcept { return std::exchange(taken_, {}); }

private:
    PortObject& port_;
    std::vector<PyObject*> taken_;
};

}  // namespace iocp::py
