// Ports that several threads use, and wakes by other threads.
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

TEST_P(Contract, WakesFromOtherThreadsEndWaits) {
    std::mutex mutex;
    std::condition_variable changed;
    int wanted = 0;
    bool over = false;
    std::thread waker([&] {
        std::unique_lock lock(mutex);
        int made = 0;
        for (;;) {
            changed.wait(lock, [&] { return over || wanted > made; });
            if (over) {
                return;
            }
            ++made;
            engine().locked([&] { port().wake(); });
        }
    });
    for (int i = 0; i < 1000; ++i) {
        {
            const std::lock_guard lock(mutex);
            ++wanted;
        }
        changed.notify_one();
        // Waits without a timeout, so that only the wake can end the wait.
        bool woken = false;
        while (!woken) {
            ASSERT_FALSE(engine().turn(-1));
            woken = engine().locked([&] { return port().take_woken(); });
        }
    }
    {
        const std::lock_guard lock(mutex);
        over = true;
    }
    changed.notify_one();
    waker.join();
}

TEST_P(Contract, EightThreadsPostWhileOneRuns) {
    constexpr std::size_t threads = 8;
    constexpr std::size_t rounds = 300;
    std::vector<Engine::Pair> pairs;
    for (std::size_t i = 0; i < threads; ++i) {
        pairs.push_back(i % 2 == 0 ? engine().pair() : engine().adopted_pair());
    }
    std::vector<std::vector<Op*>> receives(threads);
    ASSERT_TRUE(run_with_threads(threads, [&](std::size_t worker) {
        const Engine::Pair& pair = pairs[worker];
        std::mt19937 random(static_cast<unsigned>(worker));
        for (std::size_t i = 0; i < rounds; ++i) {
            receives[worker].push_back(&engine().receive(*pair.other, 10));
            engine().send(*pair.one, pattern(10, i * 10), {.batched = random() % 2 == 0});
            if (random() % 8 == 0) {
                engine().locked([&] { (void)port().operations().post_packet(&pairs); });
            }
            if (random() % 16 == 0) {
                engine().locked([&] { (void)port().timers().call_at(port().now(), nullptr); });
            }
            if (random() % 16 == 0) {
                (void)engine().view();
            }
        }
    }));
    for (std::size_t worker = 0; worker < threads; ++worker) {
        ASSERT_TRUE(engine().finish_all(receives[worker]));
        for (const Op* op : receives[worker]) {
            ASSERT_TRUE(op->succeeded());
        }
        const Bytes all = taken(receives[worker]);
        ASSERT_EQ(all, pattern(all.size()));
    }
}

TEST_P(Contract, ThreadsCancelWhatTheRunnerFinishes) {
    constexpr std::size_t threads = 4;
    constexpr std::size_t rounds = 400;
    std::vector<Engine::Pair> pairs;
    for (std::size_t i = 0; i < threads; ++i) {
        pairs.push_back(engine().adopted_pair());
    }
    std::vector<std::vector<Op*>> ops(threads);
    std::vector<std::size_t> sent(threads);
    ASSERT_TRUE(run_with_threads(threads, [&](std::size_t worker) {
        const Engine::Pair& pair = pairs[worker];
        std::mt19937 random(static_cast<unsigned>(worker));
        for (std::size_t i = 0; i < rounds; ++i) {
            Op& op = engine().receive(*pair.other, 64);
            ops[worker].push_back(&op);
            if (random() % 2 == 0) {
                engine().send(*pair.one, pattern(16, sent[worker]));
                sent[worker] += 16;
            }
            const Op& victim = *ops[worker][random() % ops[worker].size()];
            engine().cancel(victim);
            engine().cancel(op);
        }
    }));
    for (std::size_t worker = 0; worker < threads; ++worker) {
        ASSERT_TRUE(engine().finish_all(ops[worker]));
        for (const Op* op : ops[worker]) {
            ASSERT_TRUE(op->succeeded() || op->error.fault == Fault::cancelled);
        }
        Bytes all = taken(ops[worker]);
        if (all.size() < sent[worker]) {
            const Bytes rest = read_exactly(*pairs[worker].other, sent[worker] - all.size());
            all.insert(all.end(), rest.begin(), rest.end());
        }
        EXPECT_EQ(all, pattern(sent[worker]));
    }
}

TEST_P(Contract, SocketsAreOpenedAndClosedByManyThreads) {
    constexpr std::size_t threads = 4;
    ASSERT_TRUE(run_with_threads(threads, [&](std::size_t /*number*/) {
        for (int i = 0; i < 150; ++i) {
            const auto [one, other] = engine().adopted_pair();
            engine().receive(*one, 16);
            engine().subscribe(*other, static_cast<ReceiveStrategy>(i % 3));
            engine().send(*one, pattern(4));
            engine().close(*one);
            engine().abort(*other);
        }
    }));
    ASSERT_TRUE(engine().run_until([&] { return engine().closed.size() == threads * 300; }));
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

// The kernel takes entries from the ring while other threads still find the ring full. All
// operations must finish.
TEST_P(Contract, ManyThreadsPostMoreThanTheRingHasEntries) {
    PortOptions options;
    options.backend.ring_entries = 8;
    make(options);
    constexpr std::size_t threads = 4;
    std::array<std::vector<Op*>, threads> ops;
    ASSERT_TRUE(run_with_threads(threads, [&](std::size_t worker) {
        for (int i = 0; i < 200; ++i) {
            const auto [one, other] = engine().adopted_pair();
            ops[worker].push_back(&engine().receive(*one, 16));
            engine().send(*other, pattern(4));
        }
    }));
    for (const std::vector<Op*>& posted : ops) {
        ASSERT_TRUE(engine().finish_all(posted));
    }
}

TEST_P(Contract, AnOperationOutlivesTheThreadThatPostedIt) {
    const auto [one, other] = engine().pair();
    Op* op = nullptr;
    std::thread([&, socket = other] { op = &engine().receive(*socket, 64); }).join();
    engine().settle();
    EXPECT_FALSE(op->finished());
    engine().send(*one, text("alive"));
    ASSERT_TRUE(engine().finish_one(*op));
    EXPECT_TRUE(op->succeeded());
    EXPECT_EQ(taken(*op), text("alive"));
}

TEST_P(Contract, OnlyOneThreadRunsAPort) {
    engine().settle(1);
    std::atomic<bool> over{false};
    std::atomic<int> refused{0};
    std::thread second([&] {
        while (!over) {
            std::vector<Ready> inbox;
            const Error error = port().poll(port().now(), inbox);
            EXPECT_TRUE(inbox.empty());
            if (error.fault == Fault::wrong_thread) {
                ++refused;
                engine().locked([&] { port().wake(); });
                return;
            }
        }
    });
    const auto watchdog = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (refused == 0 && std::chrono::steady_clock::now() < watchdog) {
        if (engine().turn(port().now() + 50'000'000).fault == Fault::wrong_thread) {
            ++refused;
        }
    }
    over = true;
    second.join();
    EXPECT_GE(refused, 1);
}

TEST_P(Contract, TwoPortsOfOneThreadServeEachOther) {
    Engine second(GetParam(), engine().options());
    ASSERT_TRUE(second.usable());
    Handle one = no_handle;
    Handle other = no_handle;
    ASSERT_TRUE(engine().socket_pair(one, other));
    Socket& mine = engine().adopt(one);
    Socket& theirs = second.adopt(other);
    for (std::size_t i = 0; i < 50; ++i) {
        const Op& in = second.receive(theirs, 64);
        const Op& out = engine().send(mine, pattern(32, i));
        ASSERT_TRUE(engine().finish_one(out));
        ASSERT_TRUE(second.finish_one(in));
        ASSERT_EQ(taken(in), pattern(32, i));
    }
    engine().close(mine);
    second.close(theirs);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(mine); }));
    ASSERT_TRUE(second.run_until([&] { return second.is_closed(theirs); }));
    second.finish();
}

TEST_P(Contract, PortsOfManyThreadsAreIndependent) {
    std::vector<std::thread> workers;
    workers.reserve(4);
    std::atomic<int> served{0};
    for (int worker = 0; worker < 4; ++worker) {
        workers.emplace_back([&] {
            BackendReason reason;
            BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 64);
            auto backend = make_backend(GetParam(), *pool, engine().options().backend, reason);
            if (backend != nullptr) {
                Port mine({}, *pool, std::move(backend));
                int value = 0;
                for (int i = 0; i < 200; ++i) {
                    {
                        const std::lock_guard lock(mine.mutex());
                        (void)mine.operations().post_packet(&value);
                    }
                    std::vector<Ready> inbox;
                    EXPECT_FALSE(mine.poll(-1, inbox));
                    EXPECT_EQ(inbox.size(), 1U);
                }
                EXPECT_TRUE(mine.terminate());
                ++served;
            }
            pool->close();
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_EQ(served, 4);
}

}  // namespace
}  // namespace iocp::contract
