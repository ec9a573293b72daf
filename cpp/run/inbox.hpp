#pragma once

#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/ready.hpp"

namespace iocp::run {

// The records that a thread has taken from the core and not handed out yet, in order. Only the
// thread that runs the port, or the worker that owns the inbox, uses it. A port's inbox passes to
// its next runner; a worker puts back what it has not handed out.
class Inbox {
public:
    [[nodiscard]] bool empty() const noexcept { return next_ == records_.size(); }
    [[nodiscard]] std::size_t size() const noexcept { return records_.size() - next_; }
    // Takes the first record. Precondition: the inbox is not empty.
    [[nodiscard]] Ready take() noexcept {
        assert(!empty());
        return std::move(records_[next_++]);
    }
    // Returns the vector that Port::poll() fills. Precondition: the inbox is empty.
    [[nodiscard]] std::vector<Ready>& refill() noexcept {
        assert(empty());
        records_.clear();
        next_ = 0;
        return records_;
    }

private:
    std::vector<Ready> records_;
    std::size_t next_{0};  // index of the first record that was not taken
};

}  // namespace iocp::run
