// The calls that run a port for several threads (R24, R30).
#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class SharedCallsTest : public ::testing::Test {
protected:
    explicit SharedCallsTest(unsigned concurrency = 4) : port_(options(concurrency)) {}
    static PortOptions options(unsigned concurrency) {
        PortOptions made;
        made.concurrency = concurrency;
        return made;
    }
    // Starts `count` threads that make the call. `returned_` counts those that have returned.
    template <class Call>
    void start(int count, Call&& call) {
        for (int i = 0; i < count; ++i) {
            threads_.emplace_back([this, call] {
                TestHost host;
                call(host);
                ++returned_;
            });
        }
    }
    // Stops the port again and again until `count` threads have returned, because a stop does not
    // end a run() that begins after it.
    void stop_until_returned(int count) {
        until([this, count] {
            stop(host_, port_);
            return returned_ == count;
        });
        join();
    }
    void join() {
        for (std::thread& thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }
    void TearDown() override { join(); }

    TestPort port_;
    TestHost host_;
    std::vector<std::thread> threads_;
    std::atomic<int> returned_{0};
};

class OneWorkerTest : public SharedCallsTest {
protected:
    OneWorkerTest() : SharedCallsTest(1) {}
};

TEST_F(SharedCallsTest, AStopEndsEveryRunThatIsUnderWay) {
    std::atomic<int> inside{0};
    std::atomic<bool> go_on{false};
    start(3, [this](TestHost& host) { EXPECT_FALSE(run(host, port_, false).error); });
    for (int i = 0; i < 3; ++i) {
        port_.post([&] {
            ++inside;
            until([&] { return go_on.load(); });
        });
    }
    until([&] { return inside == 3; });
    stop(host_, port_);
    EXPECT_EQ(returned_, 0);
    go_on = true;
    join();
    stop(host_, port_);
    EXPECT_EQ(run(host_, port_, false).count, 0U) << "a stop before run() is kept for it";
    port_.post([&] { stop(host_, port_); });
    EXPECT_EQ(run(host_, port_, false).count, 1U);
}

TEST_F(SharedCallsTest, EachRecordIsHandedOutOnce) {
    std::atomic<int> calls{0};
    constexpr int packets = 2000;
    start(4, [this](TestHost& host) { EXPECT_FALSE(run(host, port_, false).error); });
    for (int i = 0; i < packets; ++i) {
        port_.post([&] { ++calls; });
    }
    until([&] { return calls == packets; });
    stop_until_returned(4);
}

TEST_F(SharedCallsTest, AllOfThemReturnWhenThePortIsIdle) {
    const TestOperation& operation = port_.receive();
    start(3, [this](TestHost& host) { EXPECT_FALSE(run(host, port_, true).error); });
    until([&] { return port_.backend().blocks(); });
    EXPECT_EQ(returned_, 0);
    port_.finish(operation);
    join();
    EXPECT_TRUE(operation.handed_out);
}

TEST_F(SharedCallsTest, AllOfThemReturnWhenThePortIsClosed) {
    port_.receive();
    start(3, [this](TestHost& host) { EXPECT_FALSE(run(host, port_, false).error); });
    start(2, [this](TestHost& host) {
        Taken taken;
        EXPECT_FALSE(get(host, port_, for_ever, taken).error);
    });
    start(2, [this](TestHost& host) { EXPECT_FALSE(close(host, port_, 0).error); });
    EXPECT_FALSE(close(host_, port_, 0).error);
    join();
    EXPECT_TRUE(port_.closed);
    EXPECT_EQ(port_.closes, 1) << "one thread ends it";
}

TEST_F(SharedCallsTest, ACallbacksOwnCallerRunsItAlready) {
    port_.post([&] {
        Taken taken;
        EXPECT_TRUE(run(host_, port_, false).refused);
        EXPECT_TRUE(run_once(host_, port_, 0).refused);
        EXPECT_TRUE(get(host_, port_, 0, taken).refused);
        EXPECT_FALSE(close(host_, port_, 0).refused) << "its caller takes part in it";
        EXPECT_FALSE(turn_now(host_, port_));
    });
    EXPECT_FALSE(run(host_, port_, false).error);
    EXPECT_TRUE(port_.closed);
}

TEST_F(SharedCallsTest, RunOnceLooksOnceAlsoAfterItsDeadline) {
    port_.post([] {});
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
    EXPECT_EQ(run_once(host_, port_, 0).count, 0U);
    EXPECT_EQ(run_once(host_, port_, 1000).count, 0U);
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->wake();
    }
    EXPECT_EQ(run_once(host_, port_, for_ever).count, 0U);
}

TEST_F(SharedCallsTest, OfAClosedPortReturn) {
    EXPECT_FALSE(close(host_, port_, 0).error);
    Taken taken;
    EXPECT_FALSE(run(host_, port_, false).error);
    EXPECT_EQ(run_once(host_, port_, second).count, 0U);
    EXPECT_FALSE(get(host_, port_, second, taken).error);
    EXPECT_FALSE(collect(host_, port_, second));
    EXPECT_EQ(port_.closes, 1);
}

TEST_F(OneWorkerTest, AThrowingHookLeavesThePortToOthers) {
    host_.on_dispatch = [] { throw Raised(); };
    port_.post([] {});
    EXPECT_THROW((void)run(host_, port_, false), Raised);
    EXPECT_FALSE(port_.worker_of_this_thread().inside);
    host_.on_dispatch = nullptr;
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U) << "the record was not lost";
    port_.post([] { throw Raised(); });
    EXPECT_THROW((void)run_once(host_, port_, for_ever), Raised);
    port_.post([] {});
    start(1, [this](TestHost& host) { EXPECT_EQ(run_once(host, port_, for_ever).count, 1U); });
    join();
    host_.on_signals = [] { throw Raised(); };
    EXPECT_THROW((void)run_once(host_, port_, 0), Raised);
    host_.on_signals = nullptr;
    EXPECT_FALSE(port_.worker_of_this_thread().inside);
    EXPECT_TRUE(port_.core->workers().idle());
}

TEST_F(OneWorkerTest, AThreadThatEndsLosesNoRecord) {
    const TestOperation& operation = port_.receive();
    port_.finish(operation);
    start(1, [this](TestHost& host) {
        host.on_dispatch = [] { throw Raised(); };
        EXPECT_THROW((void)run_once(host, port_, for_ever), Raised);
    });
    join();
    EXPECT_FALSE(operation.handed_out);
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
    EXPECT_TRUE(operation.handed_out);
    EXPECT_FALSE(close(host_, port_, 0).error) << "nothing of the port is in hand";
    EXPECT_TRUE(port_.closed);
}

TEST_F(OneWorkerTest, AThreadThatGetTookACompletionForIsActiveUntilItAsksAgain) {
    Taken taken;
    host_.taken = &taken;
    port_.post();
    EXPECT_FALSE(get(host_, port_, for_ever, taken).error);
    EXPECT_EQ(taken.count, 1U);
    EXPECT_TRUE(port_.worker_of_this_thread().worker.active());
    host_.taken = nullptr;
    port_.post([] {});
    TestHost other_host;
    std::thread other(
        [&] { EXPECT_EQ(run_once(other_host, port_, 0).count, 0U) << "one is active"; });
    other.join();
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
    EXPECT_FALSE(port_.worker_of_this_thread().worker.active());
}

// A completion that a waiting thread keeps for get() wakes a thread that sleeps in get().
TEST_F(SharedCallsTest, WhatAWaitingThreadKeepsWakesASleeper) {
    std::atomic<int> kept{0};
    start(1, [&](TestHost& host) {
        Taken taken;
        host.taken = &taken;
        host.on_dispatch = [&] {
            if (kept != 0 && taken.none()) {
                --kept;
                ++taken.count;  // as the bindings take kept completions
            }
        };
        EXPECT_FALSE(get(host, port_, for_ever, taken).error);
        EXPECT_EQ(taken.count, 1U);
    });
    until([&] { return port_.backend().blocks(); });
    host_.keeps = true;
    port_.post();
    while (returned_ == 0) {
        const std::size_t before = host_.handed_out;
        EXPECT_FALSE(hand_out_now(host_, port_));
        if (host_.handed_out != before) {
            ++kept;
            const std::lock_guard lock(port_.core->mutex());
            port_.core->wake_workers();
        }
        std::this_thread::yield();
    }
}

TEST_F(SharedCallsTest, AWaitRunsThePortBesideItsWorkers) {
    PortEvent event(true, false);
    const TestOperation& operation = port_.receive(&event);
    port_.backend().on_wait = [&] { port_.finish(operation); };
    EXPECT_EQ(wait_for(host_, event).end, Waited::End::met);
    EXPECT_TRUE(operation.handed_out);
    PortEvent other(true, false);
    const TestOperation& later = port_.receive(&other);
    start(2, [this](TestHost& host) { EXPECT_FALSE(run(host, port_, false).error); });
    until([&] { return port_.backend().blocks(); });
    std::thread waiter([&] {
        TestHost host;
        EXPECT_EQ(wait_for(host, other).end, Waited::End::met);
    });
    until([&] { return port_.waiters.any(); });
    port_.finish(later);
    waiter.join();
    stop_until_returned(2);
}

}  // namespace
}  // namespace iocp::run
