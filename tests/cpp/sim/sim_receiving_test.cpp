// R20, the receiving side of the model: windows, receive buffers, locks, and a wire that loses and
// reorders.
#include "sim_fixture.hpp"

namespace iocp::modelled {
namespace {

using ::testing::SizeIs;

class Receiving : public Model {
protected:
    static std::uint64_t total(const std::vector<TraceLine>& lines) {
        std::uint64_t bytes = 0;
        for (const TraceLine& line : lines) {
            bytes += line.length;
        }
        return bytes;
    }
    Bytes read_exactly(Socket& socket, std::size_t bytes) {
        Bytes all;
        while (all.size() < bytes) {
            const Op& op =
                engine().receive(socket, std::min<std::size_t>(5000, bytes - all.size()));
            if (!engine().finish_one(op) || op.error || op.transferred == 0) {
                ADD_FAILURE() << "the stream ended after " << all.size() << " bytes";
                break;
            }
            const Bytes part = taken(op);
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }
};

TEST_F(Receiving, TheWindowShrinksWhenNobodyReadsAndReopens) {
    for (const std::int64_t buffer : {0, 8192}) {
        make("windows-2000", [&](Parameters& it) { it.receive_buffer = buffer; });
        const auto [one, other] = engine().pair();
        forget();
        Op& op = engine().send(*one, pattern(100'000));
        pass(10 * second);
        const auto room = static_cast<std::uint64_t>(17'520 + buffer);
        EXPECT_EQ(total(data_sent(*one)), room) << "window and receive buffer are full";
        EXPECT_EQ(lines(*other, Step::sent).back().window, 0U);
        EXPECT_EQ(port().backend().available(*other), static_cast<std::int64_t>(room));
        EXPECT_EQ(read_exactly(*other, 100'000), pattern(100'000));
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_EQ(counts().retransmissions, 0U);
        pass(second);
    }
}

TEST_F(Receiving, TheWindowOfLinuxGrowsWhileTheReaderKeepsUp) {
    for (const bool sized : {false, true}) {
        make("linux", [](Parameters& it) { it.window_limit = 1'000'000; });
        const auto [one, other] = engine().pair();
        Socket& receiver = *other;
        if (sized) {
            engine().set_option(*other, platform::option_receive_buffer, 65'535);
        }
        const auto largest = [&] {
            std::uint32_t window = 0;
            for (const TraceLine& line : lines(receiver, Step::sent)) {
                window = std::max(window, line.window);
            }
            return window;
        };
        engine().send(*one, pattern(2'000'000));
        pass(second);
        EXPECT_LE(largest(), 65'535U) << "nobody reads";
        Op& all = reader(*other);
        ASSERT_TRUE(engine().run_until([&] { return all.received.size() == 2'000'000; }));
        EXPECT_EQ(largest() > 65'535U, !sized);
        EXPECT_LE(largest(), 1'000'000U);
    }
}

TEST_F(Receiving, TheLeastWindowOfLinuxIsAQuarterOfWhatItsOptionTells) {
    make("linux", [](Parameters& it) { it.nagle = 0; });
    Socket& listener = engine().listener();
    engine().set_option(listener, platform::option_receive_buffer, 0);
    Op& accept = engine().post(listener, OperationKind::accept);
    Socket& client = engine().open();
    ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    ASSERT_TRUE(engine().finish_one(accept));
    engine().send(client, pattern(2000));
    pass(10 * second);
    EXPECT_EQ(total(data_sent(client)), 576U) << "nobody reads";
    const std::int64_t since = now();
    EXPECT_EQ(read_exactly(*accept.connection, 2000), pattern(2000));
    EXPECT_LT(now() - since, 10 * round_trip()) << "each read opens the window again at once";
}

TEST_F(Receiving, AReceiveThatWaitsSavesTheCopyToTheBuffer) {
    make("windows-2000");
    const auto [one, other] = engine().pair();
    const std::uint64_t before = counts().copied_bytes;
    Op& waiting = engine().receive(*other, 1000);
    engine().send(*one, pattern(1000));
    ASSERT_TRUE(engine().finish_one(waiting));
    EXPECT_EQ(counts().copied_bytes - before, 1000U) << "into the send buffer alone";
    engine().send(*one, pattern(1000));
    pass(second);
    EXPECT_EQ(read_exactly(*other, 1000), pattern(1000));
    EXPECT_EQ(counts().copied_bytes - before, 3000U) << "and into the receive buffer";
}

TEST_F(Receiving, AReceiveWithoutABufferIsCopiedOnce) {
    make("windows-2000", [](Parameters& it) {
        it.receive_buffer = 0;
        it.send_buffer = 0;
        it.nagle = 0;
    });
    const auto [one, other] = engine().pair();
    Op& op = engine().send(*one, pattern(1000));
    pass(second);
    EXPECT_EQ(read_exactly(*other, 1000), pattern(1000));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(counts().copied_bytes, 0U) << "from pages to window to reader";
    EXPECT_EQ(counts().delivered_bytes, 1000U);
}

TEST_F(Receiving, APendingReceiveLocksItsPagesOnWindowsAndNoneOnLinux) {
    make("windows-10");
    const Op& on_windows = engine().receive(*engine().pair().other, 10'000);
    EXPECT_EQ(on_windows.outcome, Outcome::pending);
    EXPECT_EQ(engine().view().kernel_locked, engine().charged());
    EXPECT_GT(system().locked(), 0);
    make("linux");
    engine().receive(*engine().pair().other, 10'000);
    EXPECT_GT(engine().charged(), 0U);
    EXPECT_EQ(engine().view().kernel_locked, 0U);
    EXPECT_EQ(system().locked(), 0);
}

TEST_F(Receiving, TheLockLimitIsTheResourceFaultAndTheLedgerStaysAsItWas) {
    make("windows-2000", [](Parameters& it) {
        it.send_buffer = 0;
        it.lock_limit = 8;
    });
    const auto [one, other] = engine().pair();
    Op& fits = engine().receive(*other, 4096);
    const LedgerView before = engine().view();
    Op& refused = engine().send(*one, pattern(40'000));
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().view().now, before.now);
    EXPECT_EQ(engine().view().kernel_locked, before.kernel_locked);
    EXPECT_EQ(one->state, SocketState::open) << "it ends no socket";
    Op& retried = engine().send(*one, pattern(100));
    ASSERT_TRUE(engine().finish_one(retried));
    EXPECT_TRUE(retried.succeeded());
    ASSERT_TRUE(engine().finish_one(fits));
}

TEST_F(Receiving, AnExhaustedPoolRefusesSocketsAndLeavesNothing) {
    make("windows-2000", [](Parameters& it) { it.pool_limit = 5 * it.socket_price; });
    std::vector<Socket*> sockets;
    Error refusal;
    while (!refusal) {
        Socket* socket = nullptr;
        refusal = engine().locked(
            [&] { return port().sockets().open(family_inet, type_stream, 0, socket); });
        if (!refusal) {
            sockets.push_back(socket);
        }
    }
    EXPECT_THAT(sockets, SizeIs(5));
    EXPECT_EQ(refusal.fault, Fault::resource);
    engine().close(*sockets.back());
    engine().settle();
    engine().open();
}

TEST_F(Receiving, WhatIsLostIsSentAgainUntilTheStreamIsWhole) {
    for (const char* name : {"windows-2000", "windows-10", "linux"}) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            make(
                name,
                [&](Parameters& it) {
                    it.loss = 50'000;
                    it.reorder = 50'000;
                    it.jitter = 300 * microsecond;
                    it.send_buffer = seed % 2 == 0 ? 8192 : 0;
                },
                seed);
            const auto [one, other] = engine().pair();
            constexpr std::size_t length = 200'000;
            Op& op = engine().send(*one, pattern(length));
            EXPECT_EQ(read_exactly(*other, length), pattern(length));
            ASSERT_TRUE(engine().finish_one(op));
            EXPECT_TRUE(op.succeeded());
            EXPECT_GT(counts().lost, 0U);
            EXPECT_GT(counts().retransmissions, 0U);
            engine().shutdown_sending(*one);
            const Op& last = engine().receive(*other, 10);
            ASSERT_TRUE(engine().finish_one(last));
            EXPECT_EQ(last.transferred, 0U) << "and then its end";
        }
    }
}

TEST_F(Receiving, AHandshakeSurvivesLoss) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        make(
            "linux", [](Parameters& it) { it.loss = 200'000; }, seed);
        const auto [one, other] = engine().pair();
        engine().send(*other, text("the listener's end speaks first"));
        EXPECT_EQ(read_exactly(*one, 31), text("the listener's end speaks first"));
    }
}

TEST_F(Receiving, BandwidthIsTheCardsAndItsQueueMayDrop) {
    make("windows-10", [](Parameters& it) {
        it.bandwidth = 1'000'000;
        it.header_bytes = 0;
        it.nagle = 0;
    });
    const auto [one, other] = engine().pair();
    const std::int64_t since = now();
    engine().send(*one, pattern(60'000));
    EXPECT_EQ(read_exactly(*other, 60'000), pattern(60'000));
    EXPECT_GE(now() - since, 60 * millisecond);
    EXPECT_LT(now() - since, 70 * millisecond);
    make("windows-10", [](Parameters& it) {
        it.bandwidth = 1'000'000;
        it.nic_queue = 10'000;
    });
    const auto [third, fourth] = engine().pair();
    engine().send(*third, pattern(60'000));
    EXPECT_EQ(read_exactly(*fourth, 60'000), pattern(60'000));
    EXPECT_GT(counts().lost, 0U);
}

TEST_F(Receiving, AThreadThatWakesLateFindsWhatCameMeanwhile) {
    for (const std::int64_t delay : {std::int64_t{0}, millisecond}) {
        make("linux", [&](Parameters& it) {
            it.bandwidth = 1'000'000;  // so that the second message comes after the first
            it.wake_delay = delay;
        });
        const auto [one, other] = engine().pair();
        const auto [third, fourth] = engine().pair();
        const Op& first = engine().receive(*other, 10);
        const Op& second = engine().receive(*fourth, 10);
        engine().settle();
        const std::int64_t since = now();
        engine().send(*one, text("a word"));
        engine().send(*third, text("another"));
        while (!first.finished()) {
            ASSERT_FALSE(engine().turn(-1));
        }
        EXPECT_EQ(second.finished(), delay != 0);
        EXPECT_GE(now() - since, values().delay + delay);
        ASSERT_TRUE(engine().finish_one(second));
    }
}

TEST_F(Receiving, ShortOperationsLoseNothing) {
    make("linux", [](Parameters& it) { it.short_operations = 500'000; });
    const auto [one, other] = engine().pair();
    Op& op = engine().send(*one, pattern(300'000));
    EXPECT_EQ(read_exactly(*other, 300'000), pattern(300'000));
    ASSERT_TRUE(engine().finish_one(op));
}

}  // namespace
}  // namespace iocp::modelled
