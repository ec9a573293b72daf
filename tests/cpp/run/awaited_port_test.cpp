// AwaitedPort: which thread makes the turns of a port that a waiting thread needs.
#include "run/awaited_port.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class AwaitedPortTest : public ::testing::Test {
protected:
    AwaitedPortTest() { thread_.rearm(); }
    void make(PortOptions options = {}, bool model = false) { port_.emplace(options, model); }

    TestHost host_;
    std::optional<TestPort> port_;
    WaitingThread thread_;
};

TEST_F(AwaitedPortTest, IsRunByTheThreadIfNoOtherDoes) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    EXPECT_TRUE(awaited.acquire());
    EXPECT_TRUE(port_->runner.mine());
    port_->post([] {});
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_EQ(host_.handed_out, 1U);
    EXPECT_TRUE(awaited.acquire()) << "and keeps it";
    awaited.let_go();
    EXPECT_FALSE(port_->runner.mine());
}

TEST_F(AwaitedPortTest, GivesWayToAContender) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    EXPECT_TRUE(awaited.acquire());
    std::thread contender([&] {
        TestHost host;
        Runner runner(host, *port_);
        EXPECT_TRUE(runner.take_over());
    });
    until([&] { return port_->runner.contended(); });
    EXPECT_FALSE(awaited.acquire() && port_->runner.contended());
    contender.join();
    EXPECT_TRUE(awaited.acquire()) << "the contender has left";
}

TEST_F(AwaitedPortTest, AContenderEndsTheTurn) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    ASSERT_TRUE(awaited.acquire());
    std::thread contender;
    port_->backend().on_wait = [&] {
        contender = std::thread([&] {
            TestHost host;
            Runner runner(host, *port_);
            EXPECT_TRUE(runner.take_over());
        });
        until([&] { return port_->runner.contended(); });
    };
    EXPECT_FALSE(awaited.turn(for_ever));
    awaited.let_go();
    contender.join();
}

// The ring belongs to another thread. Once that thread has ended, any thread may take the ring
// over.
TEST_F(AwaitedPortTest, IsForeignWhileItsRingIsAnotherThreads) {
    make();
    port_->backend().owned = true;
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    EXPECT_FALSE(awaited.acquire());
    EXPECT_TRUE(awaited.foreign());
    port_->backend().owned = false;
    EXPECT_TRUE(awaited.acquire());
    EXPECT_FALSE(awaited.foreign());
}

// The thread that owns the ring may sleep, because it found the port taken. After a failed claim of
// another thread it must try again.
TEST_F(AwaitedPortTest, ALostClaimNotifiesTheOthers) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    ASSERT_TRUE(awaited.acquire());
    CountingWaiter other(*port_);
    port_->backend().refuses_claim = true;
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_TRUE(awaited.foreign());
    EXPECT_FALSE(port_->runner.mine());
    EXPECT_EQ(other.count, 1);
    const int before = host_.detached;
    thread_.sleep(host_, 1);
    EXPECT_EQ(host_.detached, before + 1) << "it has not woken itself";
}

TEST_F(AwaitedPortTest, InsideACallbackLeavesTheRecordsToTheRunner) {
    make();
    Runner runner(host_, *port_);
    ASSERT_TRUE(runner.take_over());
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    EXPECT_TRUE(awaited.acquire());
    port_->post([] {});
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_EQ(host_.handed_out, 0U);
    EXPECT_FALSE(turn(host_, *port_, for_ever));
    EXPECT_EQ(port_->inbox.size(), 1U);
    (void)host_.dispatch(*port_, port_->inbox);
}

TEST_F(AwaitedPortTest, ANotifiedThreadMakesATurnThatDoesNotWait) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    ASSERT_TRUE(awaited.acquire());
    port_->waiters.notify_all();
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_EQ(port_->backend().waits(), std::vector<std::int64_t>{0});
}

TEST_F(AwaitedPortTest, OfAClosedPortMakesNoTurns) {
    make();
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    ASSERT_TRUE(awaited.acquire());
    {
        const std::lock_guard lock(port_->core->mutex());
        port_->core->begin_close(0);
        port_->core->wake();
    }
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_TRUE(port_->closed) << "the waiting thread closed the port as its runner";
    EXPECT_FALSE(awaited.acquire());
    EXPECT_FALSE(port_->runner.mine());
}

TEST_F(AwaitedPortTest, OfSeveralThreadsHandsOutWhatIsReady) {
    PortOptions options;
    options.concurrency = 2;
    make(options);
    AwaitedPort awaited(host_, PortRef(*port_), thread_);
    EXPECT_TRUE(awaited.acquire());
    port_->post([] {});
    EXPECT_FALSE(awaited.turn(for_ever));
    EXPECT_EQ(host_.handed_out, 1U);
    EXPECT_LE(port_->backend().waits().front(), between_looks);
}

TEST_F(AwaitedPortTest, AThrowingDispatchLeavesItToOthers) {
    make();
    host_.on_dispatch = [] { throw Raised(); };
    {
        AwaitedPort awaited(host_, PortRef(*port_), thread_);
        ASSERT_TRUE(awaited.acquire());
        port_->post([] {});
        EXPECT_THROW((void)awaited.turn(for_ever), Raised);
    }
    EXPECT_TRUE(port_->runner.acquire(Purpose::run));
    EXPECT_EQ(port_->inbox.size(), 1U);
    host_.on_dispatch = nullptr;
    (void)host_.dispatch(*port_, port_->inbox);
    port_->runner.release();
}

}  // namespace
}  // namespace iocp::run
