#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "ops/operation.hpp"

namespace iocp {

// Counts the unfinished operations by kind and state, and the pages charged to them by state. The
// counts change whenever a state is written, so that reading them walks no operations.
class Tally {
public:
    void move(OperationKind kind, State from, State to, std::uint32_t pages) noexcept {
        if (unfinished(from)) {
            assert(cell(kind, from) > 0);
            --cell(kind, from);
        }
        if (unfinished(to)) {
            ++cell(kind, to);
        }
        refund(from, pages);
        charge(to, pages);
    }
    void charge(State state, std::uint32_t pages) noexcept { pages_[index(state)] += pages; }
    void refund(State state, std::uint32_t pages) noexcept {
        assert(pages_[index(state)] >= pages);
        pages_[index(state)] -= pages;
    }

    [[nodiscard]] std::uint64_t pages(State state) const noexcept { return pages_[index(state)]; }
    [[nodiscard]] std::uint64_t operations(State state) const noexcept {
        std::uint64_t sum = 0;
        for (const auto& row : operations_) {
            sum += row[index(state)];
        }
        return sum;
    }
    [[nodiscard]] std::uint64_t operations(OperationKind kind) const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint32_t count : operations_[static_cast<std::size_t>(kind)]) {
            sum += count;
        }
        return sum;
    }

private:
    static constexpr std::size_t states = static_cast<std::size_t>(State::completed) + 1;

    [[nodiscard]] static bool unfinished(State state) noexcept {
        return state != State::idle && state != State::completed;
    }
    [[nodiscard]] static std::size_t index(State state) noexcept {
        return static_cast<std::size_t>(state);
    }
    [[nodiscard]] std::uint32_t& cell(OperationKind kind, State state) noexcept {
        assert(static_cast<std::size_t>(kind) < kinds);
        return operations_[static_cast<std::size_t>(kind)][index(state)];
    }

    std::array<std::array<std::uint32_t, states>, kinds> operations_{};
    std::array<std::uint64_t, states> pages_{};
};

}  // namespace iocp
