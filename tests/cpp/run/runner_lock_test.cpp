// The lock that says which thread runs a port (R24).
#include "run/runner_lock.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace iocp::run {
namespace {

template <class Work>
auto in_thread(Work&& work) {
    decltype(work()) result{};
    std::thread thread([&] { result = work(); });
    thread.join();
    return result;
}

TEST(RunnerLockTest, IsAcquiredByOneThreadAndOnce) {
    RunnerLock lock;
    EXPECT_FALSE(lock.mine());
    EXPECT_TRUE(lock.acquire(Purpose::run));
    EXPECT_TRUE(lock.mine());
    EXPECT_FALSE(lock.acquire(Purpose::run)) << "the caller of the callback has it";
    EXPECT_FALSE(in_thread([&] { return lock.acquire(Purpose::run) || lock.mine(); }));
    lock.release();
    EXPECT_FALSE(lock.mine());
    EXPECT_TRUE(in_thread([&] {
        const bool acquired = lock.acquire(Purpose::wait);
        lock.release();
        return acquired;
    }));
}

TEST(RunnerLockTest, AContenderIsRefusedUnlessTheRunnerOnlyWaits) {
    RunnerLock lock;
    const auto contend = [&] {
        lock.begin_contending();
        const RunnerLock::Answer answer = lock.contend();
        if (answer == RunnerLock::Answer::acquired) {
            lock.release();
        }
        lock.end_contending();
        return answer;
    };
    EXPECT_EQ(in_thread(contend), RunnerLock::Answer::acquired);
    EXPECT_TRUE(lock.acquire(Purpose::run));
    EXPECT_EQ(in_thread(contend), RunnerLock::Answer::refused);
    lock.release();
    EXPECT_TRUE(lock.acquire(Purpose::wait));
    EXPECT_EQ(in_thread(contend), RunnerLock::Answer::lent);
    EXPECT_EQ(contend(), RunnerLock::Answer::refused) << "it would wait for itself";
    lock.release();
    EXPECT_FALSE(lock.contended());
}

TEST(RunnerLockTest, AWaitingThreadLetsContendersPass) {
    RunnerLock lock;
    lock.begin_contending();
    EXPECT_TRUE(lock.contended());
    EXPECT_FALSE(in_thread([&] { return lock.acquire(Purpose::wait); }));
    EXPECT_EQ(lock.contend(), RunnerLock::Answer::acquired);
    lock.release();
    lock.end_contending();
    EXPECT_TRUE(lock.acquire(Purpose::wait));
    lock.release();
}

TEST(RunnerLockTest, OnlyTheThreadWithThePortOnLoanGivesWay) {
    RunnerLock lock;
    EXPECT_TRUE(lock.acquire(Purpose::wait));
    EXPECT_FALSE(lock.gives_way()) << "no thread contends";
    lock.begin_contending();
    EXPECT_TRUE(lock.gives_way());
    EXPECT_FALSE(in_thread([&] { return lock.gives_way(); }));
    lock.release();
    EXPECT_FALSE(lock.gives_way());
    EXPECT_TRUE(lock.acquire(Purpose::run));
    EXPECT_FALSE(lock.gives_way()) << "it runs the port for its own sake";
    lock.release();
    lock.end_contending();
}

// Every runner of this test only waits, so that no contender may be refused at any moment.
TEST(RunnerLockTest, NoContenderIsRefusedWhileOnlyWaitersComeAndGo) {
    RunnerLock lock;
    std::atomic<bool> over{false};
    std::vector<std::thread> waiters;
    for (int i = 0; i < 2; ++i) {
        waiters.emplace_back([&] {
            while (!over) {
                if (lock.acquire(Purpose::wait)) {
                    lock.release();
                }
            }
        });
    }
    int refused = 0;
    for (int i = 0; i < 2000; ++i) {
        lock.begin_contending();
        RunnerLock::Answer answer = RunnerLock::Answer::lent;
        while (answer == RunnerLock::Answer::lent) {
            answer = lock.contend();
        }
        refused += answer == RunnerLock::Answer::refused ? 1 : 0;
        if (answer == RunnerLock::Answer::acquired) {
            lock.release();
        }
        lock.end_contending();
    }
    over = true;
    for (std::thread& waiter : waiters) {
        waiter.join();
    }
    EXPECT_EQ(refused, 0);
}

}  // namespace
}  // namespace iocp::run
