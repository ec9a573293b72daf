#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace iocp {

// A set of slots, one bit each. It grows to the largest slot that it ever held.
class SlotSet {
public:
    void insert(std::uint32_t slot) {
        reserve(slot);
        words_[slot / word_bits] |= bit(slot);
    }
    // Makes later inserts of this slot need no memory.
    void reserve(std::uint32_t slot) {
        const std::size_t word = slot / word_bits;
        if (word >= words_.size()) {
            words_.resize(word + 1);
        }
    }
    void erase(std::uint32_t slot) noexcept {
        if (slot / word_bits < words_.size()) {
            words_[slot / word_bits] &= ~bit(slot);
        }
    }
    [[nodiscard]] bool contains(std::uint32_t slot) const noexcept {
        return slot / word_bits < words_.size() && (words_[slot / word_bits] & bit(slot)) != 0;
    }
    void clear() noexcept { words_.clear(); }
    [[nodiscard]] bool empty() const noexcept {
        return std::all_of(words_.begin(), words_.end(),
                           [](std::uint64_t word) { return word == 0; });
    }

private:
    static constexpr std::uint32_t word_bits = 64;
    static std::uint64_t bit(std::uint32_t slot) noexcept {
        return std::uint64_t{1} << (slot % word_bits);
    }

    std::vector<std::uint64_t> words_;
};

}  // namespace iocp
