#include "core/timer.hpp"

#include <memory>

namespace iocp {

TimerHeap::~TimerHeap() {
    for (Timer* timer : heap_) {
        delete timer;
    }
}

Timer* TimerHeap::add(std::int64_t when, TimerKind kind, void* target) {
    auto timer = std::make_unique<Timer>();
    timer->when = when;
    timer->order = next_order_++;
    timer->kind = kind;
    timer->target = target;
    timer->index = heap_.size();
    heap_.push_back(timer.get());
    Timer* made = timer.release();
    sift_up(made->index);
    return made;
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
