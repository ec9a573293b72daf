// A port with its waiters: the end of the port, and its clock after the end.
#include "run/runnable_port.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class RunnablePortTest : public ::testing::Test {
protected:
    RunnablePortTest() {
        port_.backend().on_end = [this] { released_ = true; };
    }
    void close() {
        EXPECT_TRUE(port_.core->terminate());
        const std::lock_guard lock(port_.core->mutex());
        port_.mark_closed();
    }

    bool released_{false};  // declared before the port, whose end sets it
    TestPort port_;
    TestHost host_;
};

TEST_F(RunnablePortTest, ReleasesItsBackendAtItsEnd) {
    EXPECT_TRUE(port_.usable());
    close();
    EXPECT_FALSE(port_.usable());
    EXPECT_TRUE(released_);
}

TEST_F(RunnablePortTest, KeepsItsBackendForWaiters) {
    {
        WaitingThread thread;
        const PortWaiter first(host_, port_, thread);
        const PortWaiter second(host_, port_, thread);
        close();
        EXPECT_FALSE(released_);
    }
    EXPECT_TRUE(released_) << "the last waiter has released it";
}

TEST_F(RunnablePortTest, NeverAsksTheClockOfAReleasedBackend) {
    const std::int64_t before = port_.after(host_, second);
    EXPECT_GE(before, second);
    EXPECT_EQ(port_.after(host_, for_ever), for_ever);
    close();
    EXPECT_EQ(port_.after(host_, for_ever), for_ever);
    EXPECT_GE(port_.after(host_, second), 0);
    EXPECT_FALSE(port_.claimable(host_));
}

TEST_F(RunnablePortTest, IsOverWhenItsCloseIsAndAllIsHandedOut) {
    port_.post();
    EXPECT_FALSE(port_.over(host_));
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->begin_close(0);
    }
    EXPECT_FALSE(port_.over(host_)) << "a packet is ready";
    ASSERT_TRUE(port_.runner.acquire(Purpose::run));
    EXPECT_FALSE(turn(host_, port_, 0));
    EXPECT_FALSE(port_.over(host_)) << "it is in the inbox";
    (void)host_.dispatch(port_, port_.inbox);
    EXPECT_TRUE(port_.over(host_));
    port_.runner.release();
}

TEST_F(RunnablePortTest, AUseIsReleasedOnce) {
    {
        PortRef one(port_);
        PortRef other(std::move(one));
        one = PortRef(port_);
        EXPECT_EQ(port_.uses, 2);
    }
    EXPECT_EQ(port_.uses, 0);
}

}  // namespace
}  // namespace iocp::run
