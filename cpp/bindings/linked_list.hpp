#pragma once

#include <cstddef>

namespace iocp::py {

// A Python object's place in a list of the port. The port keeps the listed objects alive, because
// the kernel or the queue still refers to them.
template <class T>
struct Links {
    T* previous{nowhere()};
    T* next{nullptr};

    [[nodiscard]] bool linked() const noexcept { return previous != nowhere(); }

private:
    // The address that stands for "in no list", because no item has it.
    static T* nowhere() noexcept { return reinterpret_cast<T*>(&mark_); }
    alignas(std::max_align_t) static inline std::byte mark_{};
};

// A list that links objects through their member `links`, so that adding an object needs no memory.
// A lock of the list's owner guards the list.
template <class T>
struct LinkedList {
    T* first{nullptr};

    void add(T& item) noexcept {
        item.links.previous = nullptr;
        item.links.next = first;
        if (first != nullptr) {
            first->links.previous = &item;
        }
        first = &item;
    }
    void remove(T& item) noexcept {
        (item.links.previous != nullptr ? item.links.previous->links.next : first) =
            item.links.next;
        if (item.links.next != nullptr) {
            item.links.next->links.previous = item.links.previous;
        }
        item.links = {};
    }
};

}  // namespace iocp::py
