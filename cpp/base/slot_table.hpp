#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace iocp {

// The id of an object in a SlotTable: a slot, and the generation that counts the uses of the slot.
// A late event has the id of an earlier use, so it does not find the object that has the slot now.
struct SlotId {
    std::uint32_t slot{0};
    std::uint32_t generation{0};

    [[nodiscard]] std::uint64_t packed() const noexcept {
        return (static_cast<std::uint64_t>(generation) << 32U) | slot;
    }
    static SlotId unpack(std::uint64_t value) noexcept {
        return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32U)};
    }
};

// Owns all objects of type T. An object stays at its address for the table's life, so that a late
// event can still look up its slot and see that the generation differs. T has a public member
// `SlotId id` and a member function recycle().
template <class T>
class SlotTable {
public:
    static constexpr std::uint32_t slots_per_chunk = 64;

    [[nodiscard]] T& take() {
        if (free_.empty()) {
            grow();
        }
        const std::uint32_t slot = free_.back();
        free_.pop_back();
        return at(slot);
    }

    // Makes sure that the next take() finds a free slot. Returns false without memory.
    [[nodiscard]] bool reserve() noexcept {
        try {
            if (free_.empty()) {
                grow();
            }
            return true;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    // Frees the slot and raises its generation, so that find() returns null for the old id.
    void give_back(T& item) noexcept {
        item.recycle();
        ++item.id.generation;
        free_.push_back(item.id.slot);  // never reallocates: grow() reserved room for every slot
    }

    [[nodiscard]] T* find(SlotId id) noexcept {
        if (id.slot >= capacity()) {
            return nullptr;
        }
        T& item = at(id.slot);
        return item.id.generation == id.generation ? &item : nullptr;
    }

    // Calls visit(T&) for every slot, free or used; `visit` must tell them apart by the state of
    // the item.
    template <class Visit>
    void each(Visit&& visit) {
        for (std::uint32_t slot = 0; slot < capacity(); ++slot) {
            visit(at(slot));
        }
    }

    [[nodiscard]] std::size_t capacity() const noexcept { return chunks_.size() * slots_per_chunk; }
    [[nodiscard]] std::size_t free() const noexcept { return free_.size(); }
    [[nodiscard]] std::size_t used() const noexcept { return capacity() - free_.size(); }

    // Returns the object in the slot. Precondition: slot < capacity().
    [[nodiscard]] T& at(std::uint32_t slot) noexcept {
        return chunks_[slot / slots_per_chunk][slot % slots_per_chunk];
    }

private:
    void grow() {
        const auto first = static_cast<std::uint32_t>(capacity());
        chunks_.reserve(chunks_.size() + 1);
        if (free_.capacity() < first + slots_per_chunk) {
            free_.reserve((first + slots_per_chunk) * 2);
        }
        chunks_.push_back(std::make_unique<T[]>(slots_per_chunk));
        for (std::uint32_t i = slots_per_chunk; i-- > 0;) {
            T& item = chunks_.back()[i];
            item.id.slot = first + i;
            free_.push_back(first + i);
        }
    }

    std::vector<std::unique_ptr<T[]>> chunks_;
    std::vector<std::uint32_t> free_;
};

}  // namespace iocp
