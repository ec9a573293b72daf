#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace iocp {

enum class TimerKind : std::uint8_t {
    call,
    operation_deadline,
    close_deadline,
    subscription_retry,
    queue_retry,
    idle_connection,
    patience,
    starved,
    cooling,
};

struct Timer {
    std::int64_t when{0};    // nanoseconds of the backend's clock
    std::uint64_t order{0};  // timers of one instant fire in the order of this number
    std::size_t index{0};
    void* target{nullptr};
    TimerKind kind{TimerKind::call};
};

// A binary heap that owns its timers; a timer's own index makes removal O(log n). With a few spare
// timers the core can arm timers of its own even if there is no memory.
class TimerHeap {
public:
    TimerHeap() = default;
    ~TimerHeap();
    TimerHeap(const TimerHeap&) = delete;
    TimerHeap& operator=(const TimerHeap&) = delete;

    // Reserves memory for the next `count` timers. Returns false without memory.
    [[nodiscard]] bool reserve(std::size_t count) noexcept;
    // Arms a timer. Null without memory.
    Timer* add(std::int64_t when, TimerKind kind, void* target) noexcept;
    void remove(Timer* timer) noexcept;
    // Takes the timer out of the heap; the caller then owns it.
    Timer* take(Timer* timer) noexcept;
    [[nodiscard]] static bool fired(const Timer& timer) noexcept { return timer.index == out; }

    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
    [[nodiscard]] Timer* first() const noexcept { return heap_.front(); }

private:
    static constexpr std::size_t out = ~std::size_t{0};

    [[nodiscard]] static bool before(const Timer& a, const Timer& b) noexcept {
        return a.when != b.when ? a.when < b.when : a.order < b.order;
    }
    [[nodiscard]] bool has_room(std::size_t count) noexcept;
    [[nodiscard]] Timer* make() noexcept;
    void place(std::size_t index, Timer* timer) noexcept;
    void sift_up(std::size_t index) noexcept;
    void sift_down(std::size_t index) noexcept;

    static constexpr std::size_t max_spare = 8;

    std::vector<Timer*> heap_;
    std::array<Timer*, max_spare> spare_{};
    std::size_t spares_{0};
    std::uint64_t next_order_{0};
};

}  // namespace iocp
