#include "core/timer.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace iocp {

TimerHeap::~TimerHeap() {
    for (Timer* timer : heap_) {
        delete timer;
    }
    for (Timer* timer : spare_) {
        delete timer;
    }
}

// The heap never shrinks. So after a timer was taken out, another one can be added without memory.
bool TimerHeap::has_room(std::size_t count) noexcept {
    try {
        if (heap_.capacity() - heap_.size() < count) {
            heap_.reserve(std::max(2 * heap_.size(), max_spare));
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

// Makes spare timers, and room for them in the heap. Precondition: count is at most max_spare.
bool TimerHeap::reserve(std::size_t count) noexcept {
    while (spares_ < count) {
        auto* made = new (std::nothrow) Timer;
        if (made == nullptr) {
            return false;
        }
        spare_[spares_++] = made;
    }
    return has_room(count);
}

Timer* TimerHeap::make() noexcept {
    if (!has_room(1)) {
        return nullptr;
    }
    auto* made = new (std::nothrow) Timer;
    if (made == nullptr && spares_ != 0) {
        made = std::exchange(spare_[--spares_], nullptr);
        *made = {};
    }
    return made;
}

void TimerHeap::remove(Timer* timer) noexcept {
    take(timer);
    if (spares_ < max_spare) {
        spare_[spares_++] = timer;
    } else {
        delete timer;
    }
}

Timer* TimerHeap::add(std::int64_t when, TimerKind kind, void* target) noexcept {
    Timer* timer = make();
    if (timer == nullptr) {
        return nullptr;
    }
    timer->when = when;
    timer->order = next_order_++;
    timer->kind = kind;
    timer->target = target;
    timer->index = heap_.size();
    heap_.push_back(timer);
    sift_up(timer->index);
    return timer;
}

Timer* TimerHeap::take(Timer* timer) noexcept {
    const std::size_t index = timer->index;
    Timer* last = heap_.back();
    heap_.pop_back();
    if (last != timer) {
        place(index, last);
        sift_up(index);
        sift_down(last->index);
    }
    timer->index = out;
    return timer;
}

void TimerHeap::place(std::size_t index, Timer* timer) noexcept {
    heap_[index] = timer;
    timer->index = index;
}

void TimerHeap::sift_up(std::size_t index) noexcept {
    Timer* timer = heap_[index];
    while (index > 0) {
        const std::size_t parent = (index - 1) / 2;
        if (!before(*timer, *heap_[parent])) {
            break;
        }
        place(index, heap_[parent]);
        index = parent;
    }
    place(index, timer);
}

void TimerHeap::sift_down(std::size_t index) noexcept {
    Timer* timer = heap_[index];
    for (;;) {
        std::size_t child = (2 * index) + 1;
        if (child >= heap_.size()) {
            break;
        }
        if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) {
            ++child;
        }
        if (!before(*heap_[child], *timer)) {
            break;
        }
        place(index, heap_[child]);
        index = child;
    }
    place(index, timer);
}

}  // namespace iocp
