// Events, and the parker in which a thread sleeps.
#include "core/event.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/parker.hpp"

namespace iocp {
namespace {

class Counter final : public Waiter {
public:
    void notify() noexcept override { ++count; }
    int count{0};
};

TEST(EventTest, TellsEveryWaiterInItsList) {
    const std::lock_guard lock(Event::mutex());
    Event event(true, false);
    Counter counters[3];
    WaitPlace places[3];
    for (int i = 0; i < 3; ++i) {
        places[i].waiter = &counters[i];
        event.waiters.add(places[i]);
    }
    event.set();
    event.waiters.remove(places[1]);
    event.set();
    event.waiters.remove(places[0]);
    event.waiters.remove(places[2]);
    event.set();
    EXPECT_EQ(counters[0].count, 2);
    EXPECT_EQ(counters[1].count, 1);
    EXPECT_EQ(counters[2].count, 2);
}

TEST(EventTest, IsResetForTheFirstUnlessByHand) {
    const std::lock_guard lock(Event::mutex());
    Event manual(true, true);
    Event automatic(false, true);
    manual.pass();
    automatic.pass();
    EXPECT_TRUE(manual.is_set());
    EXPECT_FALSE(automatic.is_set());
}

TEST(EventTest, BelongsToOneOperationAtATime) {
    const std::lock_guard lock(Event::mutex());
    Event event(true, true);
    EXPECT_TRUE(event.reserve());
    EXPECT_FALSE(event.is_set()) << "a post resets it";
    EXPECT_FALSE(event.reserve());
    event.release();
    EXPECT_TRUE(event.reserve());
}

constexpr std::int64_t long_enough = 20'000'000'000;

TEST(ParkerTest, AWakeBeforeTheSleepEndsIt) {
    Parker parker;
    parker.wake();
    const auto began = std::chrono::steady_clock::now();
    parker.park(long_enough, nullptr);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    parker.rearm();
    parker.park(1, nullptr);  // the wake was reset, so the timeout ends the sleep
}

TEST(ParkerTest, NoWakeIsLost) {
    Parker parker;
    std::atomic<int> turn{0};
    std::thread other([&] {
        for (int i = 1; i < 2000; i += 2) {
            while (turn.load() != i) {
                std::this_thread::yield();
            }
            turn.store(i + 1);
            parker.wake();
        }
    });
    for (int i = 1; i < 2000; i += 2) {
        parker.rearm();
        turn.store(i);
        while (turn.load() == i) {
            parker.park(long_enough, nullptr);
        }
        EXPECT_EQ(turn.load(), i + 1);
    }
    other.join();
}

TEST(EventTest, IsSetByOneThreadAndSeenByAnother) {
    class Sleeper final : public Waiter {
    public:
        void notify() noexcept override { parker.wake(); }
        Parker parker;
    };
    Event event(false, false);
    Event answer(false, false);
    const auto wait_for = [](Event& what) {
        Sleeper sleeper;
        WaitPlace place{&sleeper};
        std::unique_lock lock(Event::mutex());
        what.waiters.add(place);
        while (!what.is_set()) {
            sleeper.parker.rearm();
            lock.unlock();
            sleeper.parker.park(long_enough, nullptr);
            lock.lock();
        }
        what.pass();
        what.waiters.remove(place);
    };
    const auto set = [](Event& what) {
        const std::lock_guard lock(Event::mutex());
        what.set();
    };
    int shared = 0;
    std::thread other([&] {
        for (int i = 0; i < 1000; ++i) {
            wait_for(event);
            ++shared;
            set(answer);
        }
    });
    for (int i = 0; i < 1000; ++i) {
        set(event);
        wait_for(answer);
        ASSERT_EQ(shared, i + 1);
    }
    other.join();
}

}  // namespace
}  // namespace iocp
