#include "core/event.hpp"

#include <atomic>
#include <exception>
#include <new>

#include "backend/backend.hpp"
#include "base/process.hpp"

namespace iocp {

void WaiterList::add(WaitPlace& place) noexcept {
    place.previous = nullptr;
    place.next = first_;
    if (first_ != nullptr) {
        first_->previous = &place;
    }
    first_ = &place;
}

void WaiterList::remove(WaitPlace& place) noexcept {
    (place.previous != nullptr ? place.previous->next : first_) = place.next;
    if (place.next != nullptr) {
        place.next->previous = place.previous;
    }
}

void WaiterList::notify_all() noexcept {
    for (WaitPlace* at = first_; at != nullptr; at = at->next) {
        at->waiter->notify();
    }
}

namespace {

struct EventsLock {
    std::mutex mutex;
    std::uint32_t generation;
};

}  // namespace

// A forked child gets its own lock, because another thread of the parent may have held the old one
// at the fork.
std::mutex& Event::mutex() noexcept {
    static std::atomic<EventsLock*> current{nullptr};
    EventsLock* lock = current.load(std::memory_order_acquire);
    while (lock == nullptr || lock->generation != fork_generation()) {
        auto* made = new (std::nothrow) EventsLock{{}, fork_generation()};
        if (made == nullptr) {
            std::terminate();  // without this lock no event can be used
        }
        if (current.compare_exchange_strong(lock, made)) {
            return made->mutex;
        }
        delete made;
    }
    return lock->mutex;
}

}  // namespace iocp
