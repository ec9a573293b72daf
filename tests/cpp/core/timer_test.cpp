// The heap of timers: order, ties, removal.
#include "core/timer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace iocp {
namespace {

std::unique_ptr<Timer> take_first(TimerHeap& heap) {
    return std::unique_ptr<Timer>(heap.take(heap.first()));
}

TEST(TimerHeap, TheEarliestIsFirst) {
    TimerHeap heap;
    EXPECT_TRUE(heap.empty());
    for (const std::int64_t when : {50, 10, 40, 20, 30}) {
        heap.add(when, TimerKind::call, nullptr);
    }
    EXPECT_EQ(heap.size(), 5U);
    for (const std::int64_t when : {10, 20, 30, 40, 50}) {
        EXPECT_EQ(take_first(heap)->when, when);
    }
    EXPECT_TRUE(heap.empty());
}

TEST(TimerHeap, KeepsWhatItWasGiven) {
    TimerHeap heap;
    int target = 0;
    const Timer* timer = heap.add(5, TimerKind::close_deadline, &target);
    EXPECT_EQ(heap.first(), timer);
    EXPECT_EQ(timer->target, &target);
    EXPECT_EQ(timer->kind, TimerKind::close_deadline);
}

TEST(TimerHeap, TimersOfOneInstantFireInTheOrderTheyWereMade) {
    TimerHeap heap;
    std::vector<int> targets(100);
    for (int& target : targets) {
        heap.add(1000, TimerKind::call, &target);
    }
    heap.add(999, TimerKind::call, nullptr);
    EXPECT_EQ(take_first(heap)->when, 999);
    for (int& target : targets) {
        EXPECT_EQ(take_first(heap)->target, &target);
    }
}

TEST(TimerHeap, ATakenTimerHasFired) {
    TimerHeap heap;
    Timer* timer = heap.add(1, TimerKind::call, nullptr);
    EXPECT_FALSE(TimerHeap::fired(*timer));
    const std::unique_ptr<Timer> taken(heap.take(timer));
    EXPECT_EQ(taken.get(), timer);
    EXPECT_TRUE(TimerHeap::fired(*taken));
    EXPECT_TRUE(heap.empty());
}

TEST(TimerHeap, RemovalFromAnyPlaceKeepsTheOrder) {
    for (int removed = 0; removed < 15; ++removed) {
        TimerHeap heap;
        std::vector<Timer*> timers;
        for (int i = 0; i < 15; ++i) {
            timers.push_back(heap.add((i * 7) % 15, TimerKind::call, nullptr));
        }
        const std::int64_t gone = timers[static_cast<std::size_t>(removed)]->when;
        heap.remove(timers[static_cast<std::size_t>(removed)]);
        std::vector<std::int64_t> order;
        while (!heap.empty()) {
            order.push_back(take_first(heap)->when);
        }
        EXPECT_EQ(order.size(), 14U);
        EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
        EXPECT_EQ(std::count(order.begin(), order.end(), gone), 0);
    }
}

TEST(TimerHeap, ExtremeInstantsAreOrdered) {
    TimerHeap heap;
    heap.add(INT64_MAX, TimerKind::call, nullptr);
    heap.add(INT64_MIN, TimerKind::call, nullptr);
    heap.add(0, TimerKind::call, nullptr);
    EXPECT_EQ(take_first(heap)->when, INT64_MIN);
    EXPECT_EQ(take_first(heap)->when, 0);
    EXPECT_EQ(take_first(heap)->when, INT64_MAX);
}

TEST(TimerHeap, AgreesWithASortedListUnderRandomUse) {
    TimerHeap heap;
    std::vector<std::pair<std::pair<std::int64_t, std::uint64_t>, Timer*>> model;
    std::mt19937 random(11);
    for (int step = 0; step < 20'000; ++step) {
        const auto choice = random() % 4;
        if (choice < 2 || model.empty()) {
            Timer* timer =
                heap.add(static_cast<std::int64_t>(random() % 50), TimerKind::call, nullptr);
            model.push_back({{timer->when, timer->order}, timer});
        } else if (choice == 2) {
            std::swap(model[random() % model.size()], model.back());
            heap.remove(model.back().second);
            model.pop_back();
        } else {
            const auto minimum = std::min_element(model.begin(), model.end());
            ASSERT_EQ(heap.first(), minimum->second);
            heap.remove(minimum->second);
            model.erase(minimum);
        }
        ASSERT_EQ(heap.size(), model.size());
        if (!model.empty()) {
            ASSERT_EQ(heap.first(), std::min_element(model.begin(), model.end())->second);
        }
    }
}

TEST(TimerHeap, OwnsWhatIsLeftInIt) {
    TimerHeap heap;
    for (int i = 0; i < 10; ++i) {
        heap.add(i, TimerKind::call, nullptr);
    }
    // Only a leak checker can report that the heap does not delete its timers.
    EXPECT_EQ(heap.size(), 10U);
}

}  // namespace
}  // namespace iocp
