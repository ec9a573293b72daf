#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/histogram.hpp"
#include "ops/operation.hpp"

namespace iocp {

// The durations of operations by kind, from the post until the completion was handed out.
// Subscriptions are left out: the application chooses how long they last.
class Latencies {
public:
    using ByKind = std::array<Histogram, kinds>;

    // Notes the time of the post. Throws std::bad_alloc only for a slot that was never used before.
    void posted(const Operation& op, std::int64_t now) {
        const std::size_t slot = op.id.slot;
        if (slot >= posted_.size()) {
            posted_.resize(slot + 1);
        }
        posted_[slot] = now;
    }
    void handed_out(const Operation& op, std::int64_t now) noexcept {
        if (!op.subscription()) {
            by_kind_[static_cast<std::size_t>(op.kind)].add(now - posted_[op.id.slot]);
        }
    }
    [[nodiscard]] const ByKind& by_kind() const noexcept { return by_kind_; }

private:
    std::vector<std::int64_t> posted_;  // the time of the post, by slot
    ByKind by_kind_{};
};

}  // namespace iocp
