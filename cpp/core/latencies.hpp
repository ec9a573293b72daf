#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/histogram.hpp"
#include "core/operation.hpp"

namespace iocp {

// How long operations took, by kind, from their post until their completion was handed out.
// Subscriptions are not among them: their length is their application's choice.
class Latencies {
public:
    using ByKind = std::array<Histogram, kinds>;

    // May be out of memory for a slot that was never used before.
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
    std::vector<std::int64_t> posted_;  // by slot
    ByKind by_kind_{};
};

}  // namespace iocp
