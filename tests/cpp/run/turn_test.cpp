// The turns of a port that one thread runs, and turns inside a call.
#include "run/turn.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class RunnerTurnTest : public ::testing::Test {
protected:
    void make(bool model) {
        port_.emplace(PortOptions{}, model);
        ASSERT_TRUE(port_->runner.acquire(Purpose::run));
        port_->backend().wake();  // so that no wait of these tests blocks
    }
    void TearDown() override { port_->runner.release(); }

    TestHost host_;
    std::optional<TestPort> port_;
};

TEST_F(RunnerTurnTest, ReturnsForTheSignalsOfTheProgram) {
    make(false);
    EXPECT_FALSE(turn(host_, *port_, for_ever));
    port_->backend().wake();
    EXPECT_FALSE(collect(host_, *port_, for_ever));
    for (const std::int64_t wait : port_->backend().waits()) {
        EXPECT_GE(wait, 0);
        EXPECT_LE(wait, between_signals);
    }
    EXPECT_EQ(host_.detached, 2);
}

TEST_F(RunnerTurnTest, WaitsNoLongerThanItsDeadline) {
    make(false);
    EXPECT_FALSE(turn(host_, *port_, port_->after(host_, 1000)));
    port_->backend().wake();
    EXPECT_FALSE(collect(host_, *port_, 1000));
    EXPECT_FALSE(turn(host_, *port_, port_->after(host_, 0) - second));
    const auto waits = port_->backend().waits();
    ASSERT_EQ(waits.size(), 3U);
    EXPECT_LE(waits[0], 1000);
    EXPECT_LE(waits[1], 1000);
    EXPECT_EQ(waits[2], 0) << "the deadline has passed before the wait";
}

TEST_F(RunnerTurnTest, LeavesEarlierRecordsToTheDispatch) {
    make(false);
    port_->post();
    EXPECT_FALSE(turn(host_, *port_, for_ever));
    EXPECT_EQ(port_->inbox.size(), 1U);
    EXPECT_FALSE(turn(host_, *port_, for_ever)) << "it would wait for ever";
    EXPECT_EQ(port_->inbox.size(), 1U);
    EXPECT_EQ(port_->backend().waits().size(), 1U);
    (void)host_.dispatch(*port_, port_->inbox);
}

TEST_F(RunnerTurnTest, AtOnceDoesNotWaitAndStaysAttached) {
    make(false);
    EXPECT_FALSE(turn_at_once(host_, *port_));
    port_->post();
    EXPECT_FALSE(turn_at_once(host_, *port_));
    EXPECT_EQ(port_->inbox.size(), 1U);
    EXPECT_FALSE(turn_at_once(host_, *port_)) << "the records come first";
    EXPECT_EQ(port_->backend().waits(), (std::vector<std::int64_t>{0, 0}));
    EXPECT_EQ(host_.detached, 0);
    (void)host_.dispatch(*port_, port_->inbox);
}

// The mutex is not recursive: the lock must be free when the detached thread takes it.
TEST_F(RunnerTurnTest, AtOnceDetachesToWaitForTheLock) {
    make(false);
    std::unique_lock lock(port_->core->mutex());
    host_.on_detach = [&] { lock.unlock(); };
    EXPECT_FALSE(turn_at_once(host_, *port_));
    EXPECT_EQ(host_.detached, 1);
    EXPECT_EQ(port_->backend().waits().size(), 1U);
}

TEST_F(RunnerTurnTest, InsideACallLeavesItsRecordsInTheCore) {
    make(false);
    port_->post();
    EXPECT_FALSE(collect(host_, *port_, for_ever));
    EXPECT_TRUE(port_->inbox.empty());
    EXPECT_FALSE(turn(host_, *port_, for_ever));
    EXPECT_EQ(port_->inbox.size(), 1U);
    (void)host_.dispatch(*port_, port_->inbox);
}

// A turn on a model waits for its whole deadline. Waits in slices would advance virtual time for
// ever, and the turn could not fail.
TEST_F(RunnerTurnTest, OfAModelFailsIfNothingCanEndIt) {
    make(true);
    EXPECT_FALSE(turn(host_, *port_, for_ever));
    EXPECT_EQ(turn(host_, *port_, for_ever).fault, Fault::nothing_due);
    EXPECT_EQ(collect(host_, *port_, for_ever).fault, Fault::nothing_due);
    const std::int64_t before = port_->after(host_, 0);
    EXPECT_FALSE(collect(host_, *port_, 10 * second));
    EXPECT_EQ(port_->after(host_, 0), before + 10 * second);
}

TEST_F(RunnerTurnTest, OfAClosedPortAsksNoClock) {
    make(false);
    EXPECT_TRUE(port_->core->terminate());
    {
        const std::lock_guard lock(port_->core->mutex());
        port_->mark_closed();
    }
    EXPECT_FALSE(collect(host_, *port_, second));
}

}  // namespace
}  // namespace iocp::run
