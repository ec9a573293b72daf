// PortWaiters: notifications to all waiters of a port, or to all except one.
#include "run/port_waiters.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

TEST(PortWaitersTest, NotifyAllOrAllOthers) {
    TestPort port;
    TestHost host;
    CountingWaiter one(port);
    CountingWaiter other(port);
    port.waiters.notify_all();
    EXPECT_EQ(one.count, 1);
    EXPECT_EQ(other.count, 1);
    WaitingThread thread;
    thread.rearm();
    PortWaiter own(host, port, thread);
    own.notify_others();
    EXPECT_EQ(one.count, 2);
    EXPECT_EQ(other.count, 2);
    thread.sleep(host, 1);
    EXPECT_EQ(host.detached, 1) << "the thread has not woken itself";
    port.waiters.notify_all();
    thread.sleep(host, 3600 * second);
    EXPECT_EQ(host.detached, 1);
}

}  // namespace
}  // namespace iocp::run
