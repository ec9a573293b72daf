// WaitingThread: a notification reaches the thread in its sleep, or in the turn that it makes.
#include "run/waiting_thread.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

void notify(WaitingThread& thread) {
    const std::lock_guard lock(Event::mutex());
    thread.notify();
}

TEST(WaitingThreadTest, ANotificationBeforeTheSleepEndsIt) {
    TestHost host;
    WaitingThread thread;
    thread.rearm();
    notify(thread);
    thread.sleep(host, 3600 * second);
    EXPECT_EQ(host.detached, 0) << "it did not even try";
    thread.rearm();
    thread.sleep(host, 1);
    EXPECT_EQ(host.detached, 1) << "rearm() has forgotten the notification";
}

TEST(WaitingThreadTest, ANotificationEndsTheSleep) {
    TestHost host;
    WaitingThread thread;
    thread.rearm();
    std::thread other;
    host.on_detach = [&] { other = std::thread([&] { notify(thread); }); };
    thread.sleep(host, 3600 * second);
    other.join();
}

TEST(WaitingThreadTest, ANotificationGoesToTheBackendOfTheTurn) {
    TestPort port;
    WaitingThread thread;
    thread.rearm();
    {
        const WaitingTurn turning(thread, port.backend());
        EXPECT_TRUE(turning.may_wait());
        notify(thread);
        notify(thread);  // the second changes nothing
        port.backend().wait(3600 * second);
    }
    const WaitingTurn next(thread, port.backend());
    EXPECT_FALSE(next.may_wait()) << "it was notified before this turn";
}

TEST(WaitingThreadTest, ANotificationDuringATurnEndsTheNextSleepToo) {
    TestHost host;
    TestPort port;
    WaitingThread thread;
    thread.rearm();
    {
        const WaitingTurn turning(thread, port.backend());
        notify(thread);
    }
    thread.sleep(host, 3600 * second);  // ends at once, although the parker was never woken
}

}  // namespace
}  // namespace iocp::run
