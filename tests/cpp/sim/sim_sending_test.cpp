// R20, the sending side of the model: the effect of the send buffer, Nagle's algorithm and the
// peer's acknowledgements on each segment.
#include "base/process.hpp"
#include "sim_fixture.hpp"

namespace iocp::modelled {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::SizeIs;

class Sending : public Model {
protected:
    Engine::Pair connection() {
        const Engine::Pair pair = engine().pair();
        reader(*pair.other);
        engine().settle();
        forget();
        return pair;
    }
};

TEST_F(Sending, ABlockingLockedSendGoesOneSegmentPerAck) {
    for (const std::int64_t nagle : {0, 1}) {
        make("windows-2000", [&](Parameters& it) {
            it.send_buffer = 0;
            it.blocking_sends = 1;
            it.nagle = nagle;
        });
        const auto [one, other] = connection();
        (void)time_of({&engine().send(*one, pattern(5 * 1460))});
        const auto sent = data_sent(*one);
        EXPECT_THAT(lengths(sent), ElementsAre(1460, 1460, 1460, 1460, 1460));
        EXPECT_GE(closest(sent), round_trip()) << "each waits for the one before it";
    }
}

TEST_F(Sending, LockedSendsFlyTogetherWithoutNagleAndAreNeverMerged) {
    make("windows-2000", [](Parameters& it) {
        it.send_buffer = 0;
        it.nagle = 0;
    });
    const auto [one, other] = connection();
    const auto ops = send_each(*one, 8, 100);
    engine().settle(1);
    const auto sent = data_sent(*one);
    EXPECT_THAT(lengths(sent), ElementsAre(100, 100, 100, 100, 100, 100, 100, 100));
    EXPECT_EQ(sent.front().when, sent.back().when) << "all in flight at once";
    const std::uint64_t locked = engine().view().kernel_locked;
    EXPECT_GT(locked, 0U);
    EXPECT_LT(time_of(ops), values().ack_delay);
    EXPECT_THAT(lines(*one, Step::unlocked), SizeIs(Ge(4U))) << "and unlocked one after another";
    EXPECT_EQ(engine().view().kernel_locked, 0U);
}

TEST_F(Sending, UnderNagleLockedSendsGoOnePerAck) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 0; });
    const auto [one, other] = connection();
    const auto ops = send_each(*one, 4, 100);
    EXPECT_GE(time_of(ops), 4 * values().ack_delay);
    const auto sent = data_sent(*one);
    EXPECT_THAT(lengths(sent), ElementsAre(100, 100, 100, 100));
    EXPECT_GE(closest(sent), values().ack_delay);
}

// Microsoft's KB 823764 shows these segments for a send of 64 KiB: full ones, and then the rest
// alone.
TEST_F(Sending, UnderNagleFullSegmentsOfALockedBlockDoNotWait) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 0; });
    const auto [one, other] = connection();
    const std::int64_t spent = time_of({&engine().send(*one, pattern(65'536))});
    const auto sent = lengths(data_sent(*one));
    ASSERT_THAT(sent, SizeIs(45));
    EXPECT_THAT(std::vector(sent.begin(), sent.end() - 1), Each(1460U));
    EXPECT_EQ(sent.back(), 1296U);
    EXPECT_EQ(counts().delayed_acks, 1U) << "of the last one, which is odd";
    EXPECT_GE(spent, values().ack_delay);
    EXPECT_LT(spent, 2 * values().ack_delay);
}

TEST_F(Sending, AGatheredLockedSendIsOneBlock) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 0; });
    const auto [one, other] = connection();
    const Bytes all = pattern(300);
    Op& op = engine().post(*one, OperationKind::send, {}, {}, [&](Op& what) {
        for (std::size_t at = 0; at < 300; at += 100) {
            what.parts.push_back({all.data() + at, 100});
        }
    });
    (void)time_of({&op});
    EXPECT_THAT(lengths(data_sent(*one)), ElementsAre(300));
}

TEST_F(Sending, ABufferCoalescesWhatNagleHoldsBack) {
    make("windows-2000");
    const auto [one, other] = connection();
    for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_EQ(engine().send(*one, pattern(100)).outcome, Outcome::done);
    }
    pass(second);
    EXPECT_THAT(lengths(data_sent(*one)), ElementsAre(100, 1460, 440));
}

TEST_F(Sending, ABufferThatIsFlushedByIntervalCoalescesWithoutNagle) {
    make("windows-2000", [](Parameters& it) {
        it.nagle = 0;
        it.flush_interval = 10 * millisecond;
    });
    const auto [one, other] = connection();
    pass(second);
    for (int i = 0; i < 20; ++i) {
        engine().send(*one, pattern(200));
        pass(millisecond);
    }
    pass(second);
    // At 0 ms the first send goes alone. At 8 and 16 ms the buffer is flushed because it holds a
    // full segment, and at 26 ms because 10 ms have passed.
    EXPECT_THAT(lengths(data_sent(*one)), ElementsAre(200, 1460, 140, 1460, 140, 600));
}

TEST_F(Sending, OneWaySmallSendsStallUnderNagleWithoutABufferOnly) {
    struct Cell {
        std::int64_t nagle;
        std::int64_t buffer;
        bool stalls;
    };
    for (const Cell cell :
         {Cell{1, 0, true}, Cell{0, 0, false}, Cell{1, 8192, false}, Cell{0, 8192, false}}) {
        make("windows-2000", [&](Parameters& it) {
            it.nagle = cell.nagle;
            it.send_buffer = cell.buffer;
        });
        const auto [one, other] = connection();
        const std::int64_t taken_time = time_of(send_each(*one, 10, 16));
        EXPECT_EQ(taken_time >= 10 * 200 * millisecond, cell.stalls)
            << "nagle " << cell.nagle << ", buffer " << cell.buffer << ": " << taken_time;
        if (!cell.stalls) {
            EXPECT_LE(taken_time, round_trip());
        }
    }
}

TEST_F(Sending, ASendThatWasCopiedIsDoneAndALockedOneWaitsForItsAck) {
    make("windows-2000");
    const auto [one, other] = connection();
    EXPECT_EQ(engine().send(*one, pattern(1000)).outcome, Outcome::done);
    make("windows-2000", [](Parameters& it) {
        it.send_buffer = 0;
        it.blocking_sends = 1;
    });
    const auto [third, fourth] = connection();
    Op& op = engine().send(*third, pattern(1000));
    EXPECT_EQ(op.outcome, Outcome::pending);
    pass(values().delay);
    EXPECT_EQ(lines(*fourth, Step::arrived).size(), 1U);
    EXPECT_FALSE(op.finished()) << "the peer has it, and its acknowledgement is not back";
    EXPECT_EQ(time_of({&op}), values().ack_delay + values().delay);
}

TEST_F(Sending, AfdTakesOneMoreSendThanItsBuffer) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 1000; });
    const auto [one, other] = engine().pair();
    EXPECT_EQ(engine().send(*one, pattern(999)).outcome, Outcome::done);
    EXPECT_EQ(engine().send(*one, pattern(50'000)).outcome, Outcome::done) << "not full yet";
    Op& over = engine().send(*one, pattern(10));
    EXPECT_EQ(over.outcome, Outcome::pending);
    reader(*other);
    (void)time_of({&over});
    make("windows-2000", [](Parameters& it) {
        it.send_buffer = 1000;
        it.one_more_send = 0;
    });
    const auto [third, fourth] = engine().pair();
    EXPECT_EQ(engine().send(*third, pattern(999)).outcome, Outcome::done);
    reader(*fourth);
    Op& locked = engine().send(*third, pattern(50'000));
    EXPECT_EQ(locked.outcome, Outcome::pending);
    (void)time_of({&locked});
}

// KB 823764: AFD frees its buffer only when a whole send is acknowledged. So after a send larger
// than the buffer the next one waits for a delayed ACK.
TEST_F(Sending, AfdHasRoomAgainWhenAWholeSendIsAcknowledged) {
    for (const std::int64_t whole : {0, 1}) {
        make("windows-2000", [&](Parameters& it) {
            it.send_buffer = 32'768;
            it.whole_sends = whole;
        });
        const auto [one, other] = connection();
        EXPECT_EQ(engine().send(*one, pattern(65'536)).outcome, Outcome::done);
        const std::int64_t spent = time_of({&engine().post(*one, OperationKind::writable)});
        EXPECT_EQ(spent >= values().ack_delay, whole != 0) << spent;
        EXPECT_EQ(engine().send(*one, pattern(65'536)).outcome, Outcome::done);
        pass(second);
    }
}

TEST_F(Sending, ADynamicBufferHoldsWhatThePeersWindowDoes) {
    make("windows-10", [](Parameters& it) {
        it.one_more_send = 0;
        it.send_buffer = 8192;
    });
    const auto [one, other] = engine().pair();
    EXPECT_EQ(engine().send(*one, pattern(60'000)).outcome, Outcome::done);
    const auto [third, fourth] = engine().pair();
    engine().set_option(*third, platform::option_send_buffer, 8192);
    reader(*fourth);
    Op& locked = engine().send(*third, pattern(60'000));
    EXPECT_EQ(locked.outcome, Outcome::pending) << "set by the application, it is not dynamic";
    (void)time_of({&locked});
}

TEST_F(Sending, WriteWriteReadStallsOnLinuxWhateverTheBuffer) {
    for (const int size : {0, 2304, 16'384, 1'000'000}) {
        for (const bool nagle : {true, false}) {
            make("linux", [&](Parameters& it) { it.nagle = nagle ? 1 : 0; });
            const auto [one, other] = engine().pair();
            engine().set_option(*one, platform::option_send_buffer, size);
            std::int64_t slowest = 0;
            for (int round = 0; round < 5; ++round) {
                const std::int64_t since = now();
                engine().send(*one, pattern(16));
                engine().send(*one, pattern(48));
                std::size_t got = 0;
                while (got < 64) {
                    Op& part = engine().receive(*other, 64 - got);
                    ASSERT_TRUE(engine().finish_one(part));
                    got += part.transferred;
                }
                engine().send(*other, pattern(32));
                ASSERT_TRUE(engine().finish_one(engine().receive(*one, 32)));
                slowest = std::max(slowest, now() - since);
            }
            EXPECT_EQ(slowest >= 40 * millisecond, nagle) << "buffer " << size;
            EXPECT_LT(slowest, 41 * millisecond);
        }
    }
}

TEST_F(Sending, OneWaySmallSendsDoNotStallOnLinux) {
    make("linux", [](Parameters& it) { it.nagle = 1; });
    const auto [one, other] = connection();
    for (int i = 0; i < 20; ++i) {
        engine().send(*one, pattern(16));
        pass(5 * millisecond);
        EXPECT_EQ(port().backend().available(*other), 0);
    }
    EXPECT_THAT(data_sent(*one), SizeIs(20));
    EXPECT_LT(closest(data_sent(*one)), 6 * millisecond);
}

TEST_F(Sending, TheSecondSegmentIsAcknowledgedAtOnceAndALoneOneAfterTheDelay) {
    make("windows-2000", [](Parameters& it) { it.nagle = 0; });
    const auto [one, other] = connection();
    engine().send(*one, pattern(100));
    engine().send(*one, pattern(100));
    pass(round_trip());
    EXPECT_EQ(lines(*other, Step::sent).size(), 1U);
    EXPECT_EQ(counts().delayed_acks, 0U);
    forget();
    engine().send(*one, pattern(100));
    pass(values().delay + values().ack_delay - 1);
    EXPECT_EQ(lines(*other, Step::sent).size(), 0U);
    pass(1);
    EXPECT_EQ(lines(*other, Step::sent).size(), 1U);
    EXPECT_EQ(counts().delayed_acks, 1U);
}

TEST_F(Sending, AnAnswerCarriesTheAck) {
    make("windows-2000");
    const auto [one, other] = engine().pair();
    engine().send(*one, pattern(100));
    ASSERT_TRUE(engine().finish_one(engine().receive(*other, 100)));
    forget();
    engine().send(*other, pattern(100));
    pass(values().ack_delay / 2);
    const auto sent = lines(*other, Step::sent);
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(sent[0].length, 100U);
    EXPECT_EQ(sent[0].acknowledged, 100U);
    ASSERT_TRUE(engine().finish_one(engine().receive(*one, 100)));
}

TEST_F(Sending, AnAckFreesLockedPages) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 0; });
    const auto [one, other] = connection();
    EXPECT_EQ(system().locked(), 0);
    Op& op = engine().send(*one, pattern(20'000));
    EXPECT_EQ(static_cast<std::uint64_t>(system().locked()) * system_page_size(),
              engine().view().kernel_locked);
    EXPECT_EQ(engine().view().kernel_locked, engine().charged());
    (void)time_of({&op});
    EXPECT_EQ(system().locked(), 0);
}

// Linux takes a segment whole if the send buffer has any room, and counts its bytes only then.
TEST_F(Sending, WithoutLocksOneMoreSendFillsTheLastSegment) {
    for (const std::int64_t more : {0, 1}) {
        make("linux", [&](Parameters& it) {
            it.send_buffer = 6000;
            it.min_send_buffer = 0;
            it.receive_window = 1000;
            it.mss = 5000;
            it.one_more_send = more;
        });
        const auto [one, other] = engine().pair();
        Socket& sender = *one;
        std::int64_t went = 0;
        const Bytes data = pattern(20'000);
        engine().locked([&] {
            EXPECT_FALSE(port().operations().try_send(sender, data.data(), data.size(), went));
        });
        EXPECT_EQ(went, more != 0 ? 10'000 : 6000);
        Op& all = reader(*other);
        ASSERT_TRUE(engine().run_until(
            [&] { return all.received.size() == static_cast<std::size_t>(went); }));
        EXPECT_EQ(all.received, pattern(static_cast<std::size_t>(went)));
    }
}

// Linux checks the send buffer's size only when a send begins a piece of several segments.
// Meanwhile the transport sends segments of the piece before.
TEST_F(Sending, WithoutLocksASendGoesOnWhileTheTransportSends) {
    struct Case {
        std::int64_t piece;
        std::int64_t window;
        std::int64_t mss;
        std::int64_t takes;
    };
    for (const Case it : {Case{0, 100'000, 1460, 4608}, Case{65'536, 100'000, 1460, 149'640},
                          Case{65'536, 200'000, 1460, 264'240}, Case{65'536, 100'000, 60'000, 4608},
                          Case{65'536, 2000, 1460, 4608}}) {
        make("linux", [&](Parameters& values) {
            values.send_buffer = 4608;
            values.send_piece = it.piece;
            values.receive_window = it.window;
            values.mss = it.mss;
        });
        const auto [one, other] = engine().pair();
        Socket& sender = *one;
        const Bytes data = pattern(300'000);
        std::int64_t went = 0;
        engine().locked([&] {
            EXPECT_FALSE(port().operations().try_send(sender, data.data(), data.size(), went));
        });
        EXPECT_EQ(went, it.takes);
        std::int64_t more = 0;
        engine().locked([&] {
            EXPECT_FALSE(
                port().operations().try_send(sender, data.data() + went, data.size() - went, more));
        });
        EXPECT_LE(more, 0) << "there is no room left";
        Op& all = reader(*other);
        ASSERT_TRUE(engine().run_until(
            [&] { return all.received.size() == static_cast<std::size_t>(went); }));
        EXPECT_EQ(all.received, pattern(static_cast<std::size_t>(went)));
    }
}

}  // namespace
}  // namespace iocp::modelled
