// Workers: the records that several threads of one port may have in hand at the same time (R24,
// R30).
#include "core/workers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "ops/operation.hpp"

namespace iocp {
namespace {

class WorkersTest : public ::testing::Test {
protected:
    Ready packet(std::uintptr_t number) {
        Ready ready;
        ready.what = Ready::What::packet;
        ready.user = reinterpret_cast<void*>(number);
        return ready;
    }
    Ready completion(Operation& op) {
        Ready ready;
        ready.op = &op;
        return ready;
    }
    Ready closed(Socket& socket) {
        Ready ready;
        ready.what = Ready::What::closed;
        ready.socket = &socket;
        return ready;
    }
    template <class... One>
    static void add(Workers& workers, One&&... one) {
        std::vector<Ready> ready;
        (ready.push_back(std::move(one)), ...);
        workers.add(ready);
    }
    // Gives back the worker's last record, and takes the next one for it. Returns the operation;
    // null for a packet, or without a record.
    static Operation* next(Workers& workers, Worker& worker) {
        Ready ready;
        workers.give_back(worker);
        if (!workers.take(worker, ready)) {
            return nullptr;
        }
        workers.handed_out(worker);
        return ready.op;
    }

    Socket one_;
    Socket other_;
    std::array<Operation, 4> ops_;
    std::array<Worker, 4> threads_;
};

TEST_F(WorkersTest, AtMostSoManyAreActive) {
    Workers workers(2, false);
    add(workers, packet(1), packet(2), packet(3));
    Ready ready;
    EXPECT_TRUE(workers.take(threads_[0], ready));
    EXPECT_TRUE(workers.take(threads_[1], ready));
    EXPECT_FALSE(workers.take(threads_[2], ready)) << "two have not asked again";
    EXPECT_EQ(workers.active(), 2U);
    EXPECT_TRUE(workers.take(threads_[1], ready)) << "who is active already may have more";
    EXPECT_EQ(ready.user, reinterpret_cast<void*>(3));
    add(workers, packet(4));
    workers.leave(threads_[1]);
    EXPECT_TRUE(workers.take(threads_[2], ready));
    workers.leave(threads_[0]);
    workers.leave(threads_[2]);
    EXPECT_EQ(workers.active(), 0U);
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, InOrderASocketsNextWaitsForTheLast) {
    Workers workers(4, true);
    for (Operation& op : ops_) {
        op.socket = &one_;
    }
    ops_[2].socket = &other_;
    add(workers, completion(ops_[0]), completion(ops_[1]), completion(ops_[2]),
        completion(ops_[3]));
    EXPECT_EQ(next(workers, threads_[0]), &ops_[0]);
    EXPECT_EQ(next(workers, threads_[1]), &ops_[2]) << "of another socket";
    EXPECT_EQ(next(workers, threads_[2]), nullptr);
    EXPECT_FALSE(workers.idle());
    workers.leave(threads_[0]);
    EXPECT_EQ(next(workers, threads_[2]), &ops_[1]);
    EXPECT_EQ(next(workers, threads_[0]), nullptr);
    EXPECT_EQ(next(workers, threads_[2]), &ops_[3]) << "the same thread, asking again";
    workers.leave(threads_[1]);
    workers.leave(threads_[2]);
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, OneThreadMayHaveSeveralOfASocket) {
    Workers workers(4, true);
    ops_[0].socket = ops_[1].socket = &one_;
    add(workers, completion(ops_[0]), completion(ops_[1]));
    Ready ready;
    EXPECT_TRUE(workers.take(threads_[0], ready));
    EXPECT_TRUE(workers.take(threads_[0], ready));
    EXPECT_EQ(ready.op, &ops_[1]);
    workers.leave(threads_[0]);
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, WithoutOrderCompletionsAreTakenAtOnceAndNothingElseBesideThem) {
    Workers workers(4, false);
    ops_[0].socket = ops_[1].socket = &one_;
    add(workers, completion(ops_[0]), completion(ops_[1]), closed(one_));
    Ready ready;
    EXPECT_TRUE(workers.take(threads_[0], ready));
    EXPECT_TRUE(workers.take(threads_[1], ready));
    EXPECT_EQ(ready.op, &ops_[1]);
    EXPECT_FALSE(workers.take(threads_[2], ready)) << "its operations are being handed out";
    workers.handed_out(threads_[0]);
    EXPECT_FALSE(workers.take(threads_[2], ready));
    workers.handed_out(threads_[1]);
    EXPECT_TRUE(workers.take(threads_[2], ready));
    EXPECT_EQ(ready.what, Ready::What::closed);
    for (Worker& thread : threads_) {
        workers.leave(thread);
    }
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, WhatFollowsTheOneThatWaitsWaitsToo) {
    Workers workers(4, false);
    for (Operation& op : ops_) {
        op.socket = &one_;
    }
    ops_[1].kind = OperationKind::receive_each;
    add(workers, completion(ops_[0]), completion(ops_[1]), completion(ops_[2]));
    Ready ready;
    EXPECT_TRUE(workers.take(threads_[0], ready));
    EXPECT_FALSE(workers.take(threads_[1], ready)) << "the end of a subscription stands alone";
    workers.handed_out(threads_[0]);
    EXPECT_TRUE(workers.take(threads_[1], ready));
    EXPECT_EQ(ready.op, &ops_[1]);
    EXPECT_FALSE(workers.take(threads_[2], ready));
    workers.handed_out(threads_[1]);
    EXPECT_TRUE(workers.take(threads_[2], ready));
    EXPECT_EQ(ready.op, &ops_[2]);
    for (Worker& thread : threads_) {
        workers.leave(thread);
    }
}

TEST_F(WorkersTest, ARecordThatWasPutBackIsTheNextOfItsSocket) {
    Workers workers(4, true);
    ops_[0].socket = ops_[1].socket = &one_;
    add(workers, completion(ops_[0]), completion(ops_[1]), packet(1));
    Ready ready;
    ASSERT_TRUE(workers.take(threads_[0], ready));
    EXPECT_EQ(next(workers, threads_[1]), nullptr) << "the packet";
    workers.put_back(threads_[0], std::move(ready));
    EXPECT_FALSE(workers.idle());
    workers.leave(threads_[0]);
    EXPECT_FALSE(workers.idle());
    EXPECT_TRUE(workers.offers(threads_[2]));
    EXPECT_EQ(next(workers, threads_[2]), &ops_[0]);
    EXPECT_EQ(next(workers, threads_[3]), nullptr);
    workers.leave(threads_[2]);
    EXPECT_EQ(next(workers, threads_[3]), &ops_[1]);
    workers.leave(threads_[1]);
    workers.leave(threads_[3]);
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, NoRecordOvertakesOneThatWasPutBack) {
    Workers workers(4, false);
    ops_[0].socket = ops_[1].socket = &one_;
    ops_[0].kind = OperationKind::receive_each;  // its record must be the socket's only one in hand
    add(workers, completion(ops_[0]));
    Ready ready;
    ASSERT_TRUE(workers.take(threads_[0], ready));
    workers.put_back(threads_[0], std::move(ready));
    workers.leave(threads_[0]);
    add(workers, completion(ops_[1]), closed(one_));
    ASSERT_TRUE(workers.take(threads_[1], ready));
    EXPECT_EQ(ready.op, &ops_[0]);
    EXPECT_FALSE(workers.take(threads_[2], ready));
    workers.handed_out(threads_[1]);
    ASSERT_TRUE(workers.take(threads_[2], ready));
    EXPECT_EQ(ready.op, &ops_[1]);
    EXPECT_FALSE(workers.take(threads_[3], ready));
    workers.handed_out(threads_[2]);
    ASSERT_TRUE(workers.take(threads_[3], ready));
    EXPECT_EQ(ready.what, Ready::What::closed);
    for (Worker& thread : threads_) {
        workers.leave(thread);
    }
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, PuttingBackNeedsNoMemory) {
    Workers workers(4, false);
    for (Operation& op : ops_) {
        op.socket = &one_;
        add(workers, completion(op));
    }
    std::array<Ready, 4> taken;
    for (std::size_t i = 0; i < threads_.size(); ++i) {
        ASSERT_TRUE(workers.take(threads_[i], taken[i]));
    }
    allocations::fail(1, 1000);
    allocations::counted([&] {
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            workers.put_back(threads_[i], std::move(taken[i]));
            workers.leave(threads_[i]);
        }
    });
    EXPECT_EQ(allocations::all_again(), 0U);
    std::vector<Ready> rest;
    workers.drain(rest);
    EXPECT_EQ(rest.size(), ops_.size());
    EXPECT_TRUE(workers.idle());
}

TEST_F(WorkersTest, NobodysAbsenceHoldsUpTheEnd) {
    Workers workers(1, true);
    ops_[0].socket = &one_;
    add(workers, completion(ops_[0]), closed(one_));
    EXPECT_EQ(next(workers, threads_[0]), &ops_[0]);
    workers.go_away(threads_[0]);
    Ready ready;
    EXPECT_FALSE(workers.take(threads_[1], ready));
    workers.open_up();
    EXPECT_TRUE(workers.take(threads_[1], ready));
    EXPECT_EQ(ready.what, Ready::What::closed);
    workers.leave(threads_[1]);
    EXPECT_TRUE(workers.idle()) << "who is away is at work on nothing of the port's";
    workers.leave(threads_[0]);
}

TEST_F(WorkersTest, NobodyLeadsWhileMuchWaits) {
    Workers workers(2, true);
    constexpr std::size_t many = 300;
    std::vector<Operation> ops(many);
    std::vector<Ready> ready;
    for (Operation& op : ops) {
        op.socket = &one_;
        ready.push_back(completion(op));
    }
    EXPECT_TRUE(workers.may_lead());
    workers.add(ready);
    EXPECT_EQ(next(workers, threads_[0]), ops.data());
    EXPECT_EQ(next(workers, threads_[1]), nullptr);
    EXPECT_FALSE(workers.may_lead()) << "more would be read and pile up";
    for (std::size_t i = 1; i < many; ++i) {
        EXPECT_EQ(next(workers, threads_[0]), &ops[i]);
    }
    EXPECT_TRUE(workers.may_lead());
    workers.leave(threads_[0]);
}

// New records wake only as many threads as have something to do, the last to fall asleep first.
TEST_F(WorkersTest, TheLastToSleepIsWokenFirst) {
    Workers workers(4, false);
    std::mutex mutex;
    std::vector<int> order;
    std::vector<std::thread> sleepers;
    workers.lead();
    std::atomic<int> asleep{0};
    for (int number = 0; number < 3; ++number) {
        sleepers.emplace_back([&, number] {
            std::unique_lock lock(mutex);
            ++asleep;
            workers.sleep(threads_[static_cast<std::size_t>(number)], lock, 30'000'000'000,
                          nullptr);
            order.push_back(number);
        });
        while (asleep != number + 1) {
            std::this_thread::yield();
        }
        const std::lock_guard lock(mutex);  // the thread is in sleep() once the lock is free
    }
    const auto woken = [&](std::size_t count) {
        for (;;) {
            const std::lock_guard lock(mutex);
            if (order.size() == count) {
                return;
            }
        }
    };
    {
        const std::lock_guard lock(mutex);
        add(workers, packet(1));
    }
    woken(1);
    {
        const std::lock_guard lock(mutex);
        add(workers, packet(2), packet(3));  // three are ready now, and two threads sleep
    }
    woken(3);
    for (std::thread& sleeper : sleepers) {
        sleeper.join();
    }
    EXPECT_EQ(order.front(), 2);
}

}  // namespace
}  // namespace iocp
