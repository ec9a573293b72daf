// The thread that runs a port, and the take-over from a thread that only waits (R24).
#include "run/runner.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

// Another thread that is the runner from the constructor to the destructor.
class OtherRunner {
public:
    OtherRunner(TestPort& port, Purpose purpose)
        : thread_([this, &port, purpose] {
              TestHost host;
              Runner runner(host, port);
              EXPECT_TRUE(runner.acquire(purpose));
              has_ = true;
              until([&] { return over_.load(); });
          }) {
        until([&] { return has_.load(); });
    }
    ~OtherRunner() {
        over_ = true;
        thread_.join();
    }
    OtherRunner(const OtherRunner&) = delete;
    OtherRunner& operator=(const OtherRunner&) = delete;

private:
    std::atomic<bool> has_{false};
    std::atomic<bool> over_{false};
    std::thread thread_;  // declared last, because it uses the other members
};

class RunnerTest : public ::testing::Test {
protected:
    TestPort port_;
    TestHost host_;
};

TEST_F(RunnerTest, ASecondRunnerIsRefused) {
    Runner runner(host_, port_);
    EXPECT_TRUE(runner.take_over());
    EXPECT_TRUE(runner.here());
    Runner inside(host_, port_);
    EXPECT_FALSE(inside.take_over());
    EXPECT_FALSE(inside.held());
    EXPECT_TRUE(inside.here()) << "a caller's scope holds the port";
    std::thread other([&] {
        TestHost host;
        Runner second(host, port_);
        EXPECT_FALSE(second.take_over());
        EXPECT_FALSE(second.here());
    });
    other.join();
}

TEST_F(RunnerTest, NotifiesTheWaitersWhenItLeaves) {
    CountingWaiter waiter(port_);
    {
        Runner runner(host_, port_);
        EXPECT_TRUE(runner.take_over());
        EXPECT_EQ(waiter.count, 0) << "no thread had to be asked";
    }
    EXPECT_EQ(waiter.count, 1);
}

TEST_F(RunnerTest, GivesWayToContendersWithoutWakingTheWaiters) {
    const CountingWaiter waiter(port_);
    const CountingWaiter contender(port_, port_.contenders);
    Runner runner(host_, port_);
    EXPECT_TRUE(runner.acquire(Purpose::wait));
    port_.runner.begin_contending();
    runner.release();
    EXPECT_EQ(contender.count, 1);
    EXPECT_EQ(waiter.count, 0);
    port_.runner.end_contending();
}

TEST_F(RunnerTest, TakesThePortOverFromAThreadThatWaits) {
    std::atomic<bool> has{false};
    std::thread waiter([&] {
        TestHost host;
        Runner runner(host, port_);
        EXPECT_TRUE(runner.acquire(Purpose::wait));
        has = true;
        until([&] { return port_.runner.contended(); });
    });
    until([&] { return has.load(); });
    Runner runner(host_, port_);
    EXPECT_TRUE(runner.take_over());
    EXPECT_FALSE(port_.runner.contended()) << "it contends no longer";
    waiter.join();
}

// A waiter that gave way to a contender sleeps. It has to run the port again if the contender ends
// without the port.
TEST_F(RunnerTest, ARefusedTakeOverNotifiesThoseThatGaveWay) {
    const OtherRunner waiter(port_, Purpose::wait);
    CountingWaiter watcher(port_);
    host_.on_signals = [&] {
        EXPECT_EQ(watcher.count, 1) << "asked for the port";
        EXPECT_TRUE(watcher.contended);
        throw Raised();
    };
    {
        Runner runner(host_, port_);
        EXPECT_THROW((void)runner.take_over(), Raised);
        EXPECT_FALSE(runner.held());
    }
    EXPECT_EQ(watcher.count, 2);
    EXPECT_FALSE(watcher.contended) << "the count is right when they look";
}

TEST_F(RunnerTest, AContenderThatIsRefusedLeavesNothing) {
    const OtherRunner other(port_, Purpose::run);
    CountingWaiter watcher(port_);
    Runner runner(host_, port_);
    EXPECT_FALSE(runner.take_over());
    EXPECT_FALSE(port_.runner.contended());
    EXPECT_FALSE(watcher.contended);
}

TEST_F(RunnerTest, ClosesThePortOnceItIsOver) {
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->begin_close(0);
    }
    Runner runner(host_, port_);
    EXPECT_TRUE(runner.take_over());
    EXPECT_TRUE(runner.close_if_over());
    EXPECT_TRUE(port_.closed);
    EXPECT_EQ(port_.closes, 1);
}

// Contenders and waiters come and go. The port has at most one runner at a time, and each contender
// becomes the runner.
TEST_F(RunnerTest, ManyThreadsTakeItFromEachOther) {
    std::atomic<int> inside{0};
    std::atomic<int> together{0};
    std::atomic<int> waits{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            TestHost host;
            while (!over) {
                WaitingThread thread;
                PortWaiter place(host, port_, thread);
                Runner runner(host, port_, &place);
                thread.rearm();
                if (runner.acquire(Purpose::wait)) {
                    together += inside++ == 0 ? 0 : 1;
                    ++waits;
                    while (!over && !port_.runner.contended()) {
                        std::this_thread::yield();
                    }
                    --inside;
                } else {
                    thread.sleep(host, second);
                }
            }
        });
    }
    std::vector<std::thread> contenders;
    std::atomic<int> taken{0};
    for (int i = 0; i < 2; ++i) {
        contenders.emplace_back([&] {
            TestHost host;
            for (int count = 0; count < 200;) {
                Runner runner(host, port_);
                if (runner.take_over()) {
                    together += inside++ == 0 ? 0 : 1;
                    --inside;
                    ++taken;
                    ++count;
                }
            }
        });
    }
    for (std::thread& contender : contenders) {
        contender.join();
    }
    over = true;
    port_.waiters.notify_all();
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(together, 0);
    EXPECT_EQ(taken, 400);
}

}  // namespace
}  // namespace iocp::run
