// The calls that run a port for one thread (R24).
#include "run/calls.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class CallsTest : public ::testing::Test {
protected:
    // Starts a thread that has the port on loan until the test's thread contends for it. The new
    // thread then calls step(), and gives the port up.
    template <class Step>
    void lend(Step&& step) {
        std::atomic<bool> has{false};
        lender_ = std::thread([this, &has, step] {
            TestHost host;
            Runner runner(host, port_);
            EXPECT_TRUE(runner.acquire(Purpose::wait));
            has = true;
            until([this] { return port_.runner.contended(); });
            step(runner);
        });
        until([&has] { return has.load(); });
    }
    void close_from_outside() {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->begin_close(0);
    }

    TestPort port_;
    TestHost host_;
    std::thread lender_;
};

TEST_F(CallsTest, RunHandsOutUntilItIsStopped) {
    int calls = 0;
    std::function<void()> again = [&] {
        if (++calls == 10) {
            stop(host_, port_);
        }
        port_.post(again);
    };
    port_.post(again);
    const Ran ran = run(host_, port_, false);
    EXPECT_FALSE(ran.refused);
    EXPECT_EQ(calls, 10);
    EXPECT_FALSE(port_.runner.mine());
}

TEST_F(CallsTest, AStopBeforeRunEndsItAfterWhatIsReady) {
    stop(host_, port_);
    EXPECT_FALSE(run(host_, port_, false).refused);
    EXPECT_TRUE(port_.backend().waits().empty()) << "it made no turn";
    port_.post([&] { stop(host_, port_); });
    EXPECT_EQ(run(host_, port_, false).count, 1U) << "the stop was for the first call alone";
}

TEST_F(CallsTest, RunUntilIdle) {
    const TestOperation& operation = port_.receive();
    port_.post([&] { port_.finish(operation); });
    EXPECT_EQ(run(host_, port_, true).count, 2U);
    EXPECT_TRUE(operation.handed_out);
    EXPECT_EQ(run(host_, port_, true).count, 0U);
}

TEST_F(CallsTest, ATurnInTwoStepsLeavesItsRecordsForTheSecond) {
    int calls = 0;
    port_.post([&] { ++calls; });
    port_.post([&] { ++calls; });
    EXPECT_EQ(make_turn(host_, port_, -1).count, 2U);
    EXPECT_EQ(calls, 0);
    const std::size_t turns = port_.backend().waits().size();
    EXPECT_EQ(make_turn(host_, port_, -1).count, 2U);
    EXPECT_EQ(port_.backend().waits().size(), turns) << "the records come first";
    EXPECT_EQ(hand_out(host_, port_).count, 2U);
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(hand_out(host_, port_).count, 0U);
    EXPECT_EQ(make_turn(host_, port_, 0).count, 0U);
}

TEST_F(CallsTest, ARunnerKeepsOthersFromTheRecordsOfItsTurn) {
    const std::thread::id mine = std::this_thread::get_id();
    PortEvent event(true, false);
    const TestOperation& operation = port_.receive(&event);
    Runner runner(host_, port_);
    ASSERT_TRUE(runner.acquire(Purpose::run));
    int calls = 0;
    for (int i = 0; i < 10; ++i) {
        port_.post([&] {
            ++calls;
            EXPECT_EQ(std::this_thread::get_id(), mine);
        });
    }
    EXPECT_EQ(make_turn(host_, port_, -1).count, 10U);
    std::thread waiter([&] {
        TestHost host;
        EXPECT_EQ(wait_for(host, event).end, Waited::End::met);
    });
    until([&] { return port_.waiters.any(); });
    EXPECT_EQ(calls, 0);
    EXPECT_EQ(hand_out(host_, port_).count, 10U);
    port_.finish(operation);
    EXPECT_NE(make_turn(host_, port_, -1).count, 0U);
    (void)hand_out(host_, port_);
    waiter.join();
    EXPECT_EQ(calls, 10);
    EXPECT_TRUE(runner.held());
}

TEST_F(CallsTest, ATurnCountsNotifiedOperations) {
    PortEvent event(false, true);
    const TestOperation& operation = port_.receive(&event);
    port_.finish(operation);
    EXPECT_EQ(make_turn(host_, port_, -1).count, 1U);
    (void)hand_out(host_, port_);
    EXPECT_TRUE(operation.handed_out);
}

TEST_F(CallsTest, AWakeEndsATurnAndIsTaken) {
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->wake();
    }
    EXPECT_EQ(make_turn(host_, port_, -1).count, 0U);
    const std::lock_guard lock(port_.core->mutex());
    EXPECT_FALSE(port_.core->take_woken());
}

TEST_F(CallsTest, ASecondThreadIsRefused) {
    port_.post([&] {
        EXPECT_TRUE(run(host_, port_, false).refused);
        EXPECT_TRUE(run_once(host_, port_, 0).refused);
        Taken taken;
        EXPECT_TRUE(get(host_, port_, 0, taken).refused);
        std::thread other([&] {
            TestHost host;
            EXPECT_TRUE(run(host, port_, false).refused);
            EXPECT_TRUE(make_turn(host, port_, 0).refused);
            EXPECT_TRUE(hand_out(host, port_).refused);
            EXPECT_TRUE(run_once(host, port_, 0).refused);
        });
        other.join();
    });
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
}

TEST_F(CallsTest, RunOnceReturnsForAWakeAndAtItsDeadline) {
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->wake();
    }
    EXPECT_EQ(run_once(host_, port_, for_ever).count, 0U);
    EXPECT_EQ(run_once(host_, port_, 1000).count, 0U);
    EXPECT_EQ(run_once(host_, port_, 0).count, 0U);
}

TEST_F(CallsTest, GetTakesWhatIsThere) {
    Taken taken{2};
    host_.taken = &taken;
    for (int i = 0; i < 3; ++i) {
        port_.post();
    }
    EXPECT_FALSE(get(host_, port_, for_ever, taken).error);
    EXPECT_EQ(taken.count, 2U);
    EXPECT_EQ(port_.inbox.size(), 1U) << "for the next call";
    taken = Taken{};
    EXPECT_FALSE(get(host_, port_, for_ever, taken).error);
    EXPECT_EQ(taken.count, 1U);
    EXPECT_EQ(port_.backend().waits().size(), 1U) << "without another turn";
    taken = Taken{};
    EXPECT_FALSE(get(host_, port_, 0, taken).error);
    EXPECT_TRUE(taken.none());
    EXPECT_EQ(port_.backend().waits().size(), 2U) << "one turn, although no time was given";
}

// The time of a take-over counts against the timeout.
TEST_F(CallsTest, ATimeoutBeginsWithTheCall) {
    lend([this](Runner&) { port_.backend().advance(2 * second); });
    EXPECT_EQ(run_once(host_, port_, second).count, 0U);
    lender_.join();
    lend([this](Runner&) { port_.backend().advance(2 * second); });
    Taken taken;
    EXPECT_FALSE(get(host_, port_, second, taken).error);
    lender_.join();
    EXPECT_EQ(port_.backend().waits(), (std::vector<std::int64_t>{0, 0}));
}

// The thread with the port on loan closes it, so the contender finds no backend any more.
TEST_F(CallsTest, APortClosedDuringATakeOverIsNotRun) {
    lend([this](Runner& runner) {
        close_from_outside();
        EXPECT_TRUE(runner.close_if_over());
    });
    EXPECT_EQ(run_once(host_, port_, second).error.fault, Fault::port_closed);
    lender_.join();
    EXPECT_EQ(run(host_, port_, false).error.fault, Fault::port_closed);
    Taken taken;
    EXPECT_EQ(get(host_, port_, second, taken).error.fault, Fault::port_closed);
    EXPECT_FALSE(close(host_, port_, 0).error);
    EXPECT_FALSE(turn_now(host_, port_));
    EXPECT_EQ(port_.closes, 1);
}

TEST_F(CallsTest, CloseRunsThePortToItsEnd) {
    const TestOperation& operation = port_.receive();
    EXPECT_FALSE(close(host_, port_, 0).error);
    EXPECT_TRUE(operation.handed_out);
    EXPECT_TRUE(port_.closed);
    EXPECT_EQ(port_.closes, 1);
}

TEST_F(CallsTest, CloseLeavesTheEndToTheThreadThatRunsThePort) {
    std::thread runner([&] {
        TestHost host;
        EXPECT_FALSE(run(host, port_, false).error);
    });
    until([&] { return port_.backend().blocks(); });
    EXPECT_FALSE(close(host_, port_, 0).error);
    runner.join();
    EXPECT_TRUE(port_.closed);
    EXPECT_EQ(port_.closes, 1);
}

TEST_F(CallsTest, CloseInACallbackLeavesTheEndToItsCaller) {
    port_.post([&] {
        EXPECT_FALSE(close(host_, port_, 0).refused);
        EXPECT_FALSE(port_.closed);
    });
    EXPECT_FALSE(run(host_, port_, false).error);
    EXPECT_TRUE(port_.closed);
}

TEST_F(CallsTest, TurnNowWaitsForNothingAndTakesNothingFromOthers) {
    port_.post([] {});
    EXPECT_FALSE(turn_now(host_, port_));
    EXPECT_EQ(host_.handed_out, 1U);
    port_.post([&] {
        port_.post([] {});
        EXPECT_FALSE(turn_now(host_, port_));
    });
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U) << "not what the callback posted";
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
    port_.backend().owned = true;
    EXPECT_FALSE(turn_now(host_, port_)) << "the ring is another thread's";
    port_.backend().owned = false;
    for (const std::int64_t wait : port_.backend().waits()) {
        EXPECT_EQ(wait, 0);
    }
}

// A turn that cannot be made has the port for a moment. A waiting thread that finds the port taken
// then sleeps, so it must be notified.
TEST_F(CallsTest, ATurnThatCannotBeMadeNotifiesTheWaiters) {
    CountingWaiter waiter(port_);
    port_.backend().owned = true;
    EXPECT_FALSE(turn_now(host_, port_));
    port_.backend().owned = false;
    EXPECT_EQ(waiter.count, 1);
}

TEST_F(CallsTest, AnErrorOfTheTurnEndsEveryCall) {
    port_.receive();
    port_.backend().owned = true;
    Taken taken;
    EXPECT_EQ(run(host_, port_, false).error.fault, Fault::wrong_thread);
    EXPECT_EQ(run_once(host_, port_, 0).error.fault, Fault::wrong_thread);
    EXPECT_EQ(get(host_, port_, 0, taken).error.fault, Fault::wrong_thread);
    EXPECT_EQ(close(host_, port_, 0).error.fault, Fault::wrong_thread);
    port_.backend().owned = false;
    EXPECT_FALSE(port_.runner.mine());
    EXPECT_FALSE(close(host_, port_, 0).error);
}

TEST_F(CallsTest, AThrowingHookReleasesThePort) {
    const auto each = [&] {
        Taken taken;
        EXPECT_THROW((void)run(host_, port_, false), Raised);
        EXPECT_THROW((void)run_once(host_, port_, for_ever), Raised);
        EXPECT_THROW((void)get(host_, port_, for_ever, taken), Raised);
        EXPECT_FALSE(port_.runner.mine());
    };
    host_.on_dispatch = [] { throw Raised(); };
    port_.post([] {});
    each();
    EXPECT_THROW((void)turn_now(host_, port_), Raised);
    EXPECT_EQ(port_.inbox.size(), 1U) << "it is handed out by the next call";
    host_.on_dispatch = nullptr;
    EXPECT_EQ(run_once(host_, port_, 0).count, 1U);
    host_.on_signals = [&] {
        port_.backend().wake();
        throw Raised();
    };
    port_.backend().wake();
    each();
    port_.receive();
    EXPECT_THROW((void)close(host_, port_, 0), Raised);
    EXPECT_FALSE(port_.closed);
    host_.on_signals = nullptr;
    EXPECT_FALSE(close(host_, port_, 0).error) << "it can be resumed";
    EXPECT_TRUE(port_.closed);
}

}  // namespace
}  // namespace iocp::run
