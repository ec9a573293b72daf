// A port that several threads run (R24, R30).
#include <atomic>
#include <thread>
#include <vector>

#include "contract.hpp"

namespace iocp::contract {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(_WIN32)  // Wine needs two minutes for a million packets
constexpr std::size_t all_packets = 100'000;
#else
constexpr std::size_t all_packets = 1'000'000;
#endif

class SharedPort : public Contract {
protected:
    void SetUp() override {}
    void share(unsigned concurrency, bool in_order) {
        PortOptions options;
        options.concurrency = concurrency;
        options.in_order = in_order;
        options.backend.shared = true;
        make(options);
    }
    // Runs the port with `threads` workers until over() is true. A worker that sees the end wakes
    // the others.
    void work(std::size_t threads, const std::function<bool()>& over) {
        std::vector<std::thread> workers;
        for (std::size_t i = 0; i < threads; ++i) {
            workers.emplace_back([&] {
                Worker worker;
                while (!over()) {
                    engine().step(worker, port().now() + 100'000'000);
                }
                engine().locked([&] {
                    port().workers().leave(worker);
                    port().wake_workers();
                });
            });
        }
        for (std::thread& worker : workers) {
            worker.join();
        }
    }
};

// A socket that sends single bytes, which its peer receives.
struct Sender {
    Socket* socket{nullptr};
    std::byte byte{};
    std::uint32_t posted{0};
    std::uint32_t completed{0};  // not atomic: one thread at a time has the socket
    std::uint32_t before{0};     // the socket's sequence when the test began
    std::uint32_t out_of_order{0};
};

// A fixture that posts and hands out without the Op objects of Engine, whose memory would outweigh
// the tested code.
class ManyPackets : public SharedPort {
protected:
    static constexpr std::size_t threads = 8;
    static constexpr std::size_t sockets = 100;
    static constexpr unsigned at_once = 3;
    static constexpr std::uint32_t each = all_packets / sockets;
    static constexpr std::uint32_t outstanding = 4;

    void post(Sender& sender) {
        const std::lock_guard lock(port().mutex());
        Operation* op = port().operations().create(*sender.socket, OperationKind::send);
        ASSERT_NE(op, nullptr);
        op->lease = {&sender.byte, 1, nullptr, nullptr};
        op->user = &sender;
        ++sender.posted;
        const Error refused = port().operations().submit(*op);
        ASSERT_FALSE(refused) << refused.code;
    }

    // Counts a completed send, or the bytes of data that a peer has received.
    void hand_out(Ready& ready) {
        if (ready.what != Ready::What::completed) {
            taken_ += ready.slice.length();
            return;
        }
        auto& sender = *static_cast<Sender*>(ready.op->user);
        failed_ += ready.op->error ? 1 : 0;
        const std::uint32_t sequence = ready.op->sequence;
        ready.op->lease.give_back();
        engine().locked([&] { port().operations().retire(*ready.op); });
        sender.out_of_order += sequence == sender.before + ++sender.completed ? 0 : 1;
        ++packets_;
        if (sender.posted < each) {
            post(sender);
        }
    }

    void work() {
        Worker worker;
        Ready ready;
        while (packets_ < all_packets) {
            const Port::Next next = engine().locked([&] { return port().next(worker, ready); });
            if (next == Port::Next::record) {
                const int beside = ++active_;
                if (beside > static_cast<int>(at_once)) {
                    ++too_many_;
                }
                hand_out(ready);
                ready = {};
                --active_;
                engine().locked([&] { port().workers().handed_out(worker); });
            } else {
                EXPECT_FALSE(port().wait_for_next(worker, -1, 1'000'000'000, nullptr));
            }
        }
        engine().locked([&] {
            port().workers().leave(worker);
            port().wake_workers();
        });
    }

    std::vector<Sender> senders_{sockets};
    std::atomic<std::size_t> packets_{0};
    std::atomic<std::size_t> taken_{0};
    std::atomic<int> active_{0};
    std::atomic<int> too_many_{0};
    std::atomic<int> failed_{0};
};

// R30: each packet is handed out once, in order for each socket, to at most `at_once` active
// threads.
TEST_P(ManyPackets, OfAHundredSocketsByEightThreads) {
    share(at_once, true);
    if (IsSkipped()) {
        return;
    }
    std::vector<Op*> reads;
    for (Sender& sender : senders_) {
        const auto [one, other] = engine().adopted_pair();
        sender.socket = one;
        sender.before = one->sequence;
        reads.push_back(&engine().subscribe(*other, ReceiveStrategy::pooled));
    }
    for (Sender& sender : senders_) {
        for (std::uint32_t i = 0; i < outstanding; ++i) {
            post(sender);
        }
    }
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < threads; ++i) {
        workers.emplace_back([this] { work(); });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_EQ(packets_, all_packets);
    EXPECT_EQ(too_many_, 0);
    EXPECT_EQ(failed_, 0);
    for (const Sender& sender : senders_) {
        EXPECT_EQ(sender.posted, each);
        EXPECT_EQ(sender.out_of_order, 0U);
    }
    std::size_t rest = 0;
    EXPECT_TRUE(engine().run_until([&] {
        rest = 0;
        for (const Op* op : reads) {
            rest += op->received.size();
        }
        return taken_ + rest == all_packets;
    })) << taken_ + rest;
}

// R24: an operation of an attached socket outlives the thread that handed it to the kernel.
TEST_P(SharedPort, AnOperationOutlivesTheThreadThatLed) {
    share(2, false);
    if (IsSkipped()) {
        return;
    }
    const auto [one, other] = engine().pair();
    std::vector<Op*> ops;
    Op* standing = nullptr;
    const auto [third, fourth] = engine().pair();
    std::thread([&, reader = other, subscriber = fourth] {
        ops.push_back(&engine().receive(*reader, 64));
        standing = &engine().subscribe(*subscriber, ReceiveStrategy::pooled);
        Worker worker;
        engine().step(worker, port().now());  // makes a turn, which gives the kernel the operations
        engine().locked([&] { port().workers().leave(worker); });
    }).join();
    engine().settle();
    EXPECT_FALSE(ops.front()->finished());
    engine().send(*one, text("alive"));
    engine().send(*third, text("too"));
    ASSERT_TRUE(engine().finish_one(*ops.front()));
    EXPECT_TRUE(ops.front()->succeeded());
    EXPECT_EQ(taken(*ops.front()), text("alive"));
    ASSERT_TRUE(engine().run_until([&] { return standing->received.size() == 3; }));
    EXPECT_FALSE(standing->finished());
}

TEST_P(SharedPort, OneThreadIsToldThatThePortIsOver) {
    share(2, true);
    if (IsSkipped()) {
        return;
    }
    const auto [one, other] = engine().pair();
    engine().receive(*other, 64);
    engine().subscribe(*one, ReceiveStrategy::zero_byte);
    std::atomic<int> told{0};
    std::atomic<int> ended{0};
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; ++i) {
        workers.emplace_back([&] {
            Worker worker;
            for (;;) {
                const Port::Next next = engine().step(worker, -1);
                if (next == Port::Next::over) {
                    ++told;
                    engine().locked([&] { port().wake_workers(); });
                    return;
                }
                if (next == Port::Next::ended) {
                    ++ended;
                    return;
                }
            }
        });
    }
    engine().locked([&] { port().begin_close(0); });
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_EQ(told, 1);
    EXPECT_EQ(ended, 3);
    EXPECT_EQ(engine().closed.size(), 3U) << "the pair and its listener";
}

// A wake may come while no thread sleeps, but one is about to wait. That thread must not wait.
TEST_P(SharedPort, AWakeBetweenTheQuestionAndTheWaitEndsTheWait) {
    share(2, false);
    if (IsSkipped()) {
        return;
    }
    const std::int64_t deadline = port().now() + 20'000'000'000;
    Worker worker;
    Ready ready;
    const auto ask = [&] { return engine().locked([&] { return port().next(worker, ready); }); };
    ASSERT_EQ(ask(), Port::Next::nothing);
    engine().locked([&] { port().wake(); });
    EXPECT_FALSE(port().wait_for_next(worker, deadline, 20'000'000'000, nullptr));
    ASSERT_EQ(ask(), Port::Next::woken);
    ASSERT_EQ(ask(), Port::Next::nothing);
    engine().locked([&] { port().wake_workers(); });
    EXPECT_FALSE(port().wait_for_next(worker, deadline, 20'000'000'000, nullptr));
    ASSERT_EQ(ask(), Port::Next::nothing);
    engine().locked([&] { (void)port().operations().post_packet(&ready); });
    EXPECT_FALSE(port().wait_for_next(worker, deadline, 20'000'000'000, nullptr));
    ASSERT_EQ(ask(), Port::Next::record);
    EXPECT_EQ(ready.user, &ready);
    engine().locked([&] { port().workers().leave(worker); });
    EXPECT_LT(port().now(), deadline);
}

// collect() makes turns, or waits for those of the leader. It leaves the ready records to the
// workers.
TEST_P(SharedPort, CollectWatchesWhoLeads) {
    share(1, false);
    if (IsSkipped()) {
        return;
    }
    const auto [one, other] = engine().pair();
    Op& op = engine().receive(*other, 64);
    std::atomic<bool> over{false};
    std::thread watcher([&] {
        while (!over) {
            EXPECT_FALSE(port().collect(port().now() + 50'000'000, port().turns()));
        }
    });
    for (int i = 0; i < 50; ++i) {
        const Op& more = engine().receive(*other, 64);
        engine().send(*one, text("x"));
        ASSERT_TRUE(engine().finish_one(i == 0 ? op : more));
        engine().send(*one, text("y"));
        if (i == 0) {
            ASSERT_TRUE(engine().finish_one(more));
        } else {
            const Op& last = engine().receive(*other, 64);
            ASSERT_TRUE(engine().finish_one(last));
        }
    }
    over = true;
    watcher.join();
}

TEST_P(SharedPort, ManyThreadsOpenPostAndClose) {
    share(4, false);
    if (IsSkipped()) {
        return;
    }
    constexpr std::size_t wanted = 400;
    std::atomic<std::size_t> made{0};
    work(4, [&] {
        if (made.fetch_add(1) < wanted) {
            const auto [one, other] = engine().adopted_pair();
            engine().subscribe(*other, ReceiveStrategy::pooled);
            engine().receive(*one, 16);
            engine().send(*one, pattern(4));
            engine().close(*one);
            engine().abort(*other);
        }
        return engine().locked(
            [&] { return port().sockets().open_count() == 0 && made >= wanted; });
    });
    engine().settle();
    EXPECT_EQ(engine().closed.size(), 2 * wanted);
}

INSTANTIATE_TEST_SUITE_P(Backends, SharedPort, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });
INSTANTIATE_TEST_SUITE_P(Backends, ManyPackets, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace iocp::contract
