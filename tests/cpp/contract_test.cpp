// What every real backend promises, end to end, on real sockets: one suite for all of them.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "core/page_span.hpp"
#include "engine.hpp"

namespace iocp::contract {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

Bytes text(const std::string& characters) {
    const auto* first = reinterpret_cast<const std::byte*>(characters.data());
    return {first, first + characters.size()};
}

// Bytes that tell by their value where in the stream they belong.
Bytes pattern(std::size_t length, std::size_t from = 0) {
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        const std::size_t at = from + i;
        bytes[i] = static_cast<std::byte>((at ^ (at >> 8U) ^ (at >> 16U)) & 0xffU);
    }
    return bytes;
}

Bytes taken(const Op& op) {
    return {op.memory.begin(), op.memory.begin() + static_cast<std::ptrdiff_t>(op.transferred)};
}

class Contract : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override { make({}); }
    void TearDown() override { engine_.reset(); }

    void make(const PortOptions& options) {
        engine_.reset();
        engine_ = std::make_unique<Engine>(GetParam(), options);
        if (!engine_->usable()) {
            GTEST_SKIP() << GetParam() << ": " << engine_->reason();
        }
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }

    // Reads exactly `bytes` bytes with receives of at most `piece`.
    Bytes read_exactly(Socket& socket, std::size_t bytes, std::size_t piece = 65536) {
        Bytes all;
        while (all.size() < bytes) {
            const Op& op = engine().receive(socket, std::min(piece, bytes - all.size()));
            if (!engine().finish_one(op) || op.error || op.transferred == 0) {
                ADD_FAILURE() << "the stream ended after " << all.size() << " bytes";
                break;
            }
            const Bytes part = taken(op);
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }
    bool wait_readable(Socket& socket) {
        return engine().finish_one(engine().post(socket, Kind::zero_byte));
    }
    // Fills the connection until the next send pends.
    std::size_t fill(Socket& socket) {
        std::size_t sent = 0;
        const Bytes block(65536);
        for (;;) {
            std::int64_t went = 0;
            EXPECT_FALSE(engine().locked(
                [&] { return port().try_send(socket, block.data(), block.size(), went); }));
            if (went == 0) {
                return sent;
            }
            sent += static_cast<std::size_t>(went);
        }
    }

private:
    std::unique_ptr<Engine> engine_;
};

TEST_P(Contract, HasItsName) { EXPECT_EQ(port().backend().name(), GetParam()); }

TEST_P(Contract, AMessageArrives) {
    const auto [one, other] = engine().pair();
    const Op& incoming = engine().receive(*other, 64);
    EXPECT_EQ(incoming.outcome, Outcome::pending);
    const Op& outgoing = engine().send(*one, text("hello"));
    EXPECT_EQ(outgoing.outcome, Outcome::done);
    EXPECT_EQ(outgoing.completions, 0) << "its completion comes later, never inside the post";
    ASSERT_TRUE(engine().finish_all({const_cast<Op*>(&incoming), const_cast<Op*>(&outgoing)}));
    EXPECT_TRUE(incoming.succeeded());
    EXPECT_EQ(taken(incoming), text("hello"));
    EXPECT_EQ(outgoing.transferred, 5U);
}

TEST_P(Contract, DataThatIsThereMakesAReceiveDone) {
    const auto [one, other] = engine().pair();
    engine().send(*one, text("there"));
    ASSERT_TRUE(wait_readable(*other));
    const std::uint64_t peak = engine().view().peak;
    const Op& op = engine().receive(*other, 64);
    EXPECT_EQ(op.outcome, Outcome::done);
    EXPECT_EQ(engine().view().peak, peak) << "nothing is locked for it";
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(taken(op), text("there"));
}

TEST_P(Contract, ADoneOperationOfASocketThatSkipsLeavesNoPacket) {
    const auto [one, other] = engine().pair();
    engine().locked([&, first = one, second = other] {
        first->skip_done = true;
        second->skip_done = true;
    });
    const Op& outgoing = engine().send(*one, text("there"));
    EXPECT_TRUE(outgoing.silent);
    EXPECT_EQ(outgoing.transferred, 5U);
    ASSERT_TRUE(wait_readable(*other));
    const Op& op = engine().receive(*other, 64);
    EXPECT_TRUE(op.silent);
    EXPECT_EQ(taken(op), text("there"));
    const Op& next = engine().receive(*other, 64);
    EXPECT_EQ(next.outcome, Outcome::pending);
    engine().send(*one, text("more"));
    ASSERT_TRUE(engine().finish_one(next)) << "what was pending completes as ever";
    EXPECT_EQ(taken(next), text("more"));
    engine().settle();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(outgoing.completions, 0);
}

TEST_P(Contract, ThePagesOfAPendingReceiveAreChargedUntilItCompletes) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 10'000);
    const std::size_t pages =
        page_span(reinterpret_cast<std::uintptr_t>(op.memory.data()), 10'000, system_page_size());
    EXPECT_EQ(engine().charged(), pages * system_page_size());
    engine().settle();
    EXPECT_EQ(engine().charged(), pages * system_page_size());
    engine().send(*one, text("x"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(engine().charged(), 0U);
}

TEST_P(Contract, ReceivesAreFilledInPostingOrder) {
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        std::vector<Op*> ops;
        for (int i = 0; i < 16; ++i) {
            ops.push_back(&engine().receive(*other, 100));
        }
        engine().settle();
        engine().send(*one, pattern(1600));
        ASSERT_TRUE(engine().finish_all(ops));
        Bytes all;
        for (const Op* op : ops) {
            const Bytes part = taken(*op);
            all.insert(all.end(), part.begin(), part.end());
        }
        EXPECT_EQ(all, pattern(all.size()));
    }
}

TEST_P(Contract, AReceiveThatFillsItsBufferWaitsForAllOfIt) {
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        const Bytes all = pattern(3000);
        engine().send(*one, {all.begin(), all.begin() + 1000});
        ASSERT_TRUE(wait_readable(*other));
        const Op& op = engine().receive(*other, 3000, {.flags = platform::flag_wait_all});
        EXPECT_EQ(op.outcome, Outcome::pending) << "part of it was there";
        engine().send(*one, {all.begin() + 1000, all.begin() + 2000});
        engine().settle();
        EXPECT_FALSE(op.finished());
        engine().send(*one, {all.begin() + 2000, all.end()});
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_TRUE(op.succeeded());
        EXPECT_EQ(taken(op), all);
    }
}

TEST_P(Contract, TheEndOfTheStreamEndsAReceiveThatFillsItsBuffer) {
    for (const bool at_once : {true, false}) {
        const auto [one, other] = engine().pair();
        const Op* op =
            at_once ? nullptr : &engine().receive(*other, 100, {.flags = platform::flag_wait_all});
        engine().send(*one, text("part"));
        engine().shutdown_sending(*one);
        if (at_once) {
            ASSERT_TRUE(wait_readable(*other));
            op = &engine().receive(*other, 100, {.flags = platform::flag_wait_all});
        }
        ASSERT_TRUE(engine().finish_one(*op));
        EXPECT_TRUE(op->succeeded());
        EXPECT_EQ(taken(*op), text("part"));
    }
}

TEST_P(Contract, ACancelKeepsWhatAReceiveThatFillsItsBufferHas) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 100, {.flags = platform::flag_wait_all});
    engine().send(*one, text("part"));
    ASSERT_TRUE(engine().run_until(
        [&] { return engine().locked([&] { return op.core->transferred == 4; }); }));
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(taken(op), text("part"));
    EXPECT_EQ(engine().charged(), 0U);
    engine().send(*one, text("rest"));
    EXPECT_EQ(read_exactly(*other, 4), text("rest"));
}

TEST_P(Contract, APeekThatShouldFillItsBufferTakesWhatIsThereOnce) {
    const int flags = platform::flag_wait_all | platform::flag_peek;
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        const Op& waiting = engine().receive(*other, 100, {.flags = flags});
        engine().send(*one, text("part"));
        ASSERT_TRUE(engine().finish_one(waiting));
        EXPECT_EQ(taken(waiting), text("part"));
        const Op& there = engine().receive(*other, 100, {.flags = flags});
        ASSERT_TRUE(engine().finish_one(there));
        EXPECT_EQ(taken(there), text("part"));
        EXPECT_EQ(read_exactly(*other, 4), text("part")) << "a peek leaves it in place";
    }
}

TEST_P(Contract, SendsOfOneSocketNeverInterleave) {
    const auto [one, other] = engine().pair();
    std::vector<Op*> sends;
    std::size_t total = 0;
    for (std::size_t i = 0; i < 40; ++i) {
        const std::size_t length = 1 + ((i * 7919) % 200'000);
        sends.push_back(&engine().send(*one, pattern(length, total), {.batched = i % 3 == 0}));
        total += length;
    }
    EXPECT_EQ(read_exactly(*other, total), pattern(total));
    ASSERT_TRUE(engine().finish_all(sends));
    for (const Op* op : sends) {
        EXPECT_TRUE(op->succeeded());
        EXPECT_EQ(op->transferred, op->memory.size());
    }
}

TEST_P(Contract, ABigSendToASlowReaderArrivesWhole) {
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        const std::size_t total = 16 * mebibyte;
        const Op& op = engine().send(*one, pattern(total));
        EXPECT_EQ(op.outcome, Outcome::pending);
        EXPECT_GT(engine().charged(), total / 2);
        EXPECT_EQ(read_exactly(*other, total, 50'000), pattern(total));
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_TRUE(op.succeeded());
        EXPECT_EQ(op.transferred, total);
    }
}

TEST_P(Contract, AGatheredSendGoesInOrder) {
    const auto [one, other] = engine().pair();
    const Bytes all = pattern(3 * mebibyte);
    const Op& op = engine().post(*one, Kind::send, {}, {}, [&](Op& what) {
        std::size_t at = 0;
        for (std::size_t i = 0; i < 100; ++i) {
            const std::size_t length = i == 99 ? all.size() - at : (i * 601) % 30'000;
            what.parts.push_back({all.data() + at, length});
            at += length;
        }
    });
    ASSERT_TRUE(op.accepted);
    EXPECT_EQ(read_exactly(*other, all.size()), all);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.transferred, all.size());
}

TEST_P(Contract, AZeroByteReceiveLeavesTheDataInPlace) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*other, Kind::zero_byte);
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(engine().charged(), 0U);
    engine().settle();
    EXPECT_FALSE(op.finished());
    engine().send(*one, text("stays"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.transferred, 0U);
    EXPECT_EQ(read_exactly(*other, 5), text("stays"));
    EXPECT_EQ(port().backend().available(*other), 0);
}

TEST_P(Contract, AZeroByteReceiveCompletesAtTheEndOfStream) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*other, Kind::zero_byte);
    engine().shutdown_sending(*one);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    const Op& last = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(last.succeeded());
    EXPECT_EQ(last.transferred, 0U);
}

TEST_P(Contract, ZeroByteReceivesOfManySocketsLockNothing) {
    std::vector<Engine::Pair> pairs;
    std::vector<Op*> ops;
    for (int i = 0; i < 100; ++i) {
        pairs.push_back(engine().pair());
        ops.push_back(&engine().post(*pairs.back().other, Kind::zero_byte));
    }
    engine().settle();
    EXPECT_EQ(engine().charged(), 0U);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        engine().send(*pairs[i].one, pattern(10, i));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        EXPECT_EQ(read_exactly(*pairs[i].other, 10), pattern(10, i));
    }
}

TEST_P(Contract, HalfAConnectionGoesOn) {
    const auto [one, other] = engine().pair();
    Op& stream = engine().subscribe(*other, Receive::pooled);
    engine().send(*one, pattern(300'000));
    engine().shutdown_sending(*one);
    EXPECT_TRUE(engine().send(*one, text("late")).refusal);
    ASSERT_TRUE(engine().finish_one(stream));
    EXPECT_TRUE(stream.succeeded());
    EXPECT_EQ(stream.ends, 1);
    EXPECT_EQ(stream.received, pattern(300'000)) << "what was queued went before the end";
    engine().send(*other, text("answer"));
    EXPECT_EQ(read_exactly(*one, 6), text("answer"));
}

TEST_P(Contract, ACancelledReceiveTakesNoByte) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 100);
    engine().settle();
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(engine().charged(), 0U);
    engine().send(*one, text("still here"));
    EXPECT_EQ(read_exactly(*other, 10), text("still here"));
}

TEST_P(Contract, EveryKindCanBeCancelled) {
    const auto [one, other] = engine().pair();
    const auto [third, fourth] = engine().pair();
    const auto [fifth, sixth] = engine().pair();
    fill(*one);
    std::vector<Op*> ops{
        &engine().post(*third, Kind::zero_byte),
        &engine().receive(*fourth, 10),
        &engine().receive(*fourth, 10),
        &engine().post(engine().listener(), Kind::accept),
        &engine().post(engine().listener(), Kind::accept_each),
        &engine().subscribe(*fifth, Receive::pooled),
        &engine().subscribe(*sixth, Receive::direct),
        &engine().subscribe(*other, Receive::zero_byte),
    };
    engine().settle();
    for (const Op* op : ops) {
        EXPECT_TRUE(op->accepted);
        if (op != ops.back()) {
            EXPECT_TRUE(engine().cancel(*op)) << static_cast<int>(op->kind);
        }
    }
    engine().cancel(*ops.back());
    ASSERT_TRUE(engine().finish_all(ops));
    for (const Op* op : ops) {
        EXPECT_EQ(op->error.fault, Fault::cancelled) << static_cast<int>(op->kind);
    }
}

TEST_P(Contract, ASendCancelledPartWayTellsItsCountAndRefusesWhatFollows) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().send(*one, pattern(32 * mebibyte));
    ASSERT_EQ(op.outcome, Outcome::pending);
    const Op& behind = engine().send(*one, text("never"));
    Bytes head = read_exactly(*other, 100'000);
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_GE(op.transferred, head.size());
    EXPECT_LT(op.transferred, 32 * mebibyte);
    ASSERT_TRUE(engine().finish_one(behind));
    EXPECT_TRUE(behind.error);
    EXPECT_EQ(behind.transferred, 0U);
    EXPECT_TRUE(engine().send(*one, text("never")).refusal);
    const Bytes rest = read_exactly(*other, op.transferred - head.size());
    head.insert(head.end(), rest.begin(), rest.end());
    EXPECT_EQ(head, pattern(op.transferred)) << "the count is exact";
    engine().close(*one);
    const Op& last = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_EQ(last.transferred, 0U) << "not one byte more";
}

// Every byte sent is received once, whoever wins each of the races.
TEST_P(Contract, ThousandsOfCancelRacesLoseNoByte) {
    const auto [one, other] = engine().adopted_pair();
    std::mt19937 random(42);
    std::size_t sent = 0;
    Bytes received;
    std::size_t won = 0;
    std::size_t lost = 0;
    for (int i = 0; i < 3000; ++i) {
        const Op& op = engine().receive(*other, 64);
        if (random() % 2 == 0) {
            engine().settle(1);
        }
        const bool data = random() % 2 == 0;
        if (data) {
            engine().send(*one, pattern(16, sent));
            sent += 16;
        }
        if (random() % 2 == 0) {
            engine().settle(1);
        }
        engine().cancel(op);
        ASSERT_TRUE(engine().finish_one(op));
        if (op.error) {
            ASSERT_EQ(op.error.fault, Fault::cancelled);
            ASSERT_EQ(op.transferred, 0U);
            ++won;
        } else {
            const Bytes part = taken(op);
            received.insert(received.end(), part.begin(), part.end());
            ++lost;
        }
    }
    if (received.size() < sent) {
        const Bytes rest = read_exactly(*other, sent - received.size());
        received.insert(received.end(), rest.begin(), rest.end());
    }
    EXPECT_EQ(received, pattern(sent));
    EXPECT_GT(won, 100U);
    EXPECT_GT(lost, 100U);
}

TEST_P(Contract, ATimeoutEndsAReceiveAndTakesNoByte) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 10, {.timeout = 1'000'000});
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    engine().send(*one, text("later"));
    EXPECT_EQ(read_exactly(*other, 5), text("later"));
}

TEST_P(Contract, CloseCompletesWhatIsPendingAndThePeerSeesTheEnd) {
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        const Op& mine = engine().receive(*one, 10);
        const Op& theirs = engine().receive(*other, 10);
        engine().settle();
        engine().close(*one);
        ASSERT_TRUE(engine().finish_one(mine));
        EXPECT_EQ(mine.error.fault, Fault::cancelled);
        ASSERT_TRUE(engine().finish_one(theirs));
        EXPECT_TRUE(theirs.succeeded());
        EXPECT_EQ(theirs.transferred, 0U);
        ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*one); }));
    }
}

TEST_P(Contract, CloseSendsWhatIsQueued) {
    const auto [one, other] = engine().pair();
    std::vector<Op*> sends;
    for (std::size_t i = 0; i < 8; ++i) {
        sends.push_back(&engine().send(*one, pattern(mebibyte, i * mebibyte)));
    }
    engine().close(*one, 50'000'000'000);
    EXPECT_EQ(read_exactly(*other, 8 * mebibyte), pattern(8 * mebibyte));
    const Op& last = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(last.succeeded());
    EXPECT_EQ(last.transferred, 0U) << "and then the end of the stream";
    ASSERT_TRUE(engine().finish_all(sends));
    for (const Op* op : sends) {
        EXPECT_TRUE(op->succeeded());
    }
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*one); }));
}

TEST_P(Contract, ACloseDeadlineEndsTheWaitForAPeerThatDoesNotRead) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().send(*one, pattern(32 * mebibyte));
    ASSERT_EQ(op.outcome, Outcome::pending);
    engine().close(*one, 1'000'000);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*one); }));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_LT(op.transferred, 32 * mebibyte);
}

TEST_P(Contract, AnAbortIsAResetForThePeer) {
    const auto [one, other] = engine().pair();
    const Op& mine = engine().receive(*one, 10);
    const Op& theirs = engine().receive(*other, 10);
    const Op& behind = engine().receive(*other, 10);
    engine().settle();
    engine().abort(*one);
    ASSERT_TRUE(engine().finish_one(theirs));
    EXPECT_EQ(theirs.error.fault, Fault::system) << "an abort never looks like an orderly end";
    EXPECT_TRUE(platform::is_reset(theirs.error.code)) << theirs.error.code;
    ASSERT_TRUE(engine().finish_one(behind));
    EXPECT_TRUE(behind.error);
    ASSERT_TRUE(engine().finish_one(mine));
    ASSERT_TRUE(
        engine().run_until([&] { return engine().is_closed(*one) && engine().is_closed(*other); }));
    for (const auto& [socket, failure] : engine().closed) {
        EXPECT_EQ(static_cast<bool>(failure), socket == other);
    }
}

TEST_P(Contract, AResetReleasesEverythingOfTheSocket) {
    const auto [one, other] = engine().pair();
    Op& stream = engine().subscribe(*other, Receive::pooled);
    std::vector<Op*> sends;
    fill(*other);
    for (int i = 0; i < 5; ++i) {
        sends.push_back(&engine().send(*other, pattern(100'000)));
    }
    engine().settle();
    EXPECT_GT(engine().charged(), 0U);
    engine().abort(*one);
    ASSERT_TRUE(engine().finish_all(sends));
    ASSERT_TRUE(engine().finish_one(stream));
    EXPECT_TRUE(stream.error);
    EXPECT_EQ(stream.ends, 0);
    for (const Op* op : sends) {
        EXPECT_TRUE(op->error);
    }
    EXPECT_EQ(engine().charged(), 0U);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*other); }));
}

// No byte and no cancellation crosses from a closed socket to the one that gets its number.
TEST_P(Contract, ADescriptorNumberUsedAgainIsANewSocket) {
    std::set<Handle> numbers;
    std::size_t reused = 0;
    Socket* dying = nullptr;
    Socket* peer = nullptr;
    Op* last = nullptr;
    for (std::size_t i = 0; i < 1500; ++i) {
        if (dying != nullptr) {
            engine().close(*dying);
            engine().close(*peer);
        }
        const auto [one, other] = engine().adopted_pair();
        reused += numbers.insert(one->handle).second ? 0U : 1U;
        Op& op = engine().receive(*one, 32);
        engine().send(*other, pattern(8, i));
        ASSERT_TRUE(engine().finish_one(op));
        ASSERT_TRUE(op.succeeded()) << i;
        ASSERT_EQ(taken(op), pattern(8, i));
        if (last != nullptr) {
            ASSERT_TRUE(engine().finish_one(*last));
            // Its peer was closed as well: whichever was seen first, it got no data.
            ASSERT_EQ(last->transferred, 0U);
        }
        last = &engine().receive(*one, 32);
        dying = one;
        peer = other;
    }
    EXPECT_GT(reused, 500U);
}

TEST_P(Contract, ADetachedHandleIsTheCallersAgain) {
    const auto [one, other] = engine().adopted_pair();
    const Op& op = engine().receive(*one, 10);
    engine().settle();
    engine().locked([&] { port().detach(*one); });
    while (!engine().locked([&] { return Port::idle(*one); })) {
        ASSERT_FALSE(port().collect(port().now() + 1'000'000'000));
    }
    const Handle handle = one->handle;
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*one); }));
    Socket& again = engine().adopt(handle);
    engine().send(*other, text("again"));
    EXPECT_EQ(read_exactly(again, 5), text("again"));
}

TEST_P(Contract, ClosingAnAdoptedSocketLeavesADuplicateWorking) {
    Handle one = no_handle;
    Handle other = no_handle;
    ASSERT_TRUE(platform::socket_pair(one, other));
    const Handle copy = platform::duplicate(one);
    Socket& socket = engine().adopt(one);
    Socket& peer = engine().adopt(other);
    const Op& op = engine().receive(socket, 10);
    engine().settle();
    engine().close(socket);
    ASSERT_TRUE(engine().finish_one(op));
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(socket); }));
    Socket& duplicate = engine().adopt(copy);
    engine().send(peer, text("to the copy"));
    EXPECT_EQ(read_exactly(duplicate, 11), text("to the copy"));
}

TEST_P(Contract, AnAdoptedSocketMayBeNonblockingAndIsSoAfterwards) {
    Handle one = no_handle;
    Handle other = no_handle;
    ASSERT_TRUE(platform::socket_pair(one, other));
    ASSERT_TRUE(platform::set_nonblocking(one));
    Socket& socket = engine().adopt(one, true);
    Socket& peer = engine().adopt(other);
    const Op& op = engine().receive(socket, 10);
    engine().settle();
    EXPECT_FALSE(op.finished());
    engine().send(peer, text("ok"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(taken(op), text("ok"));
    engine().locked([&] { port().detach(socket); });
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(socket); }));
    EXPECT_TRUE(platform::is_nonblocking(one));
    platform::close_handle(one);
}

TEST_P(Contract, ARefusedConnectSaysSo) {
    Socket& gone = engine().listener();
    const Address address = engine().name_of(gone);
    engine().close(gone);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(gone); }));
    Socket& socket = engine().open();
    const Op& op = engine().connect(socket, address);
    const Op& behind = engine().send(socket, text("never"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(platform::is_refused(op.error.code)) << op.error.code;
    if (behind.accepted) {
        ASSERT_TRUE(engine().finish_one(behind));
        EXPECT_TRUE(behind.error);
    } else {
        EXPECT_TRUE(behind.refusal) << "where the refusal is known before the send is posted";
    }
}

TEST_P(Contract, SendsMayBeQueuedBehindAConnect) {
    Socket& listener = engine().listener();
    const Op& accept = engine().post(listener, Kind::accept);
    Socket& client = engine().open();
    const Op& connect = engine().connect(client, engine().name_of(listener));
    const Op& first = engine().send(client, text("first "));
    const Op& second = engine().send(client, text("second"));
    ASSERT_TRUE(engine().run_until([&] { return second.finished() && accept.finished(); }));
    EXPECT_TRUE(connect.succeeded() && first.succeeded() && second.succeeded());
    EXPECT_EQ(read_exactly(*accept.connection, 12), text("first second"));
}

TEST_P(Contract, AListenerTakesEveryConnection) {
    Socket& listener = engine().listener();
    Op& each = engine().post(listener, Kind::accept_each);
    std::vector<Op*> connects;
    for (int i = 0; i < 150; ++i) {
        connects.push_back(&engine().connect(engine().open(), engine().name_of(listener)));
        if (i % 50 == 49) {
            engine().settle();
        }
    }
    ASSERT_TRUE(engine().finish_all(connects));
    ASSERT_TRUE(engine().run_until([&] { return each.connections.size() == 150; }));
    for (const Op* op : connects) {
        EXPECT_TRUE(op->succeeded());
    }
    const Op& op = engine().receive(*each.connections[77], 10);
    EXPECT_TRUE(op.accepted);
    engine().cancel(each);
    ASSERT_TRUE(engine().finish_one(each));
}

TEST_P(Contract, SubscriptionsDeliverTheStreamWhateverTheStrategy) {
    for (const Receive strategy : {Receive::pooled, Receive::direct, Receive::zero_byte}) {
        for (const bool tcp : {true, false}) {
            const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
            Op& stream = engine().subscribe(*other, strategy);
            engine().settle();
            EXPECT_EQ(engine().charged(), strategy == Receive::direct ? system_page_size() : 0U);
            std::size_t sent = 0;
            std::mt19937 random(9);
            for (int i = 0; i < 300; ++i) {
                const std::size_t length = i % 10 == 0 ? random() % 100'000 : random() % 600;
                engine().send(*one, pattern(length, sent), {.batched = random() % 2 == 0});
                sent += length;
                if (i % 7 == 0) {
                    engine().settle(1);
                }
            }
            engine().shutdown_sending(*one);
            ASSERT_TRUE(engine().finish_one(stream));
            EXPECT_TRUE(stream.succeeded());
            EXPECT_EQ(stream.ends, 1);
            ASSERT_EQ(stream.received.size(), sent);
            EXPECT_EQ(stream.received, pattern(sent));
            EXPECT_EQ(engine().charged(), 0U);
        }
    }
}

TEST_P(Contract, ASubscriptionSwitchesBetweenSmallAndLargeMessages) {
    const auto [one, other] = engine().pair();
    Op& stream = engine().subscribe(*other, Receive::pooled);
    std::size_t sent = 0;
    for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < 60; ++i) {
            const std::size_t length = round % 2 == 0 ? 32 : 100'000;
            engine().send(*one, pattern(length, sent));
            sent += length;
            ASSERT_TRUE(engine().run_until([&] { return stream.received.size() == sent; }));
        }
    }
    EXPECT_EQ(stream.received, pattern(sent));
}

TEST_P(Contract, DataAndEndThatAreThereBeforeTheSubscriptionAreDelivered) {
    for (const Receive strategy : {Receive::pooled, Receive::direct, Receive::zero_byte}) {
        const auto [one, other] = engine().pair();
        engine().send(*one, pattern(20'000));
        engine().shutdown_sending(*one);
        ASSERT_TRUE(wait_readable(*other));
        Op& stream = engine().subscribe(*other, strategy);
        ASSERT_TRUE(engine().finish_one(stream));
        EXPECT_EQ(stream.received, pattern(20'000));
        EXPECT_EQ(stream.ends, 1);
    }
}

TEST_P(Contract, ACancelledSubscriptionLeavesTheRestToBeRead) {
    const auto [one, other] = engine().pair();
    std::size_t sent = 0;
    Bytes received;
    for (int i = 0; i < 200; ++i) {
        Op& stream = engine().subscribe(*other, static_cast<Receive>(i % 3));
        engine().send(*one, pattern(100, sent));
        sent += 100;
        engine().settle(i % 3);
        engine().cancel(stream);
        ASSERT_TRUE(engine().finish_one(stream));
        received.insert(received.end(), stream.received.begin(), stream.received.end());
    }
    if (received.size() < sent) {
        const Bytes rest = read_exactly(*other, sent - received.size());
        received.insert(received.end(), rest.begin(), rest.end());
    }
    EXPECT_EQ(received, pattern(sent));
}

TEST_P(Contract, AReaderThatHoardsDoesNotStarveTheOthers) {
    PortOptions options;
    options.region_size = 64 * system_page_size();
    options.region_limit = 6;
    make(options);
    const auto [one, other] = engine().pair();
    const auto [third, fourth] = engine().pair();
    std::vector<std::pair<Region*, Bytes>> hoard;
    Op& hoarder = engine().subscribe(*other, Receive::pooled, [&](Op& op) {
        op.on_data = [&](Op&, const Slice& slice) {
            slice.region()->add_reference();
            hoard.emplace_back(slice.region(), Bytes(slice.data(), slice.data() + slice.length()));
        };
    });
    Op& modest = engine().subscribe(*fourth, Receive::pooled);
    std::size_t sent = 0;
    for (int i = 0; i < 200; ++i) {
        engine().send(*one, pattern(30'000));
        engine().send(*third, pattern(100, sent));
        sent += 100;
        ASSERT_TRUE(engine().run_until([&] { return modest.received.size() == sent; }));
    }
    std::size_t hoarded = 0;
    ASSERT_TRUE(engine().run_until([&] {
        hoarded = 0;
        for (const auto& [region, bytes] : hoard) {
            hoarded += bytes.size();
        }
        return hoarded == 200 * 30'000;
    }));
    EXPECT_EQ(modest.received, pattern(sent));
    EXPECT_LE(engine().pool().blocks_out(), options.region_limit + 4);
    engine().cancel(hoarder);
    for (const auto& [region, bytes] : hoard) {
        region->drop_reference();
    }
}

TEST_P(Contract, AnEchoServerServesManyConnections) {
    Socket& listener = engine().listener();
    engine().post(listener, Kind::accept_each, {}, {}, [&](Op& op) {
        op.on_connection = [&](Op&, Socket& socket) {
            engine().subscribe(socket, Receive::pooled, [&](Op& stream) {
                stream.on_data = [&](Op& from, const Slice& slice) {
                    engine().send(*from.socket, Bytes(slice.data(), slice.data() + slice.length()),
                                  {.batched = true});
                };
            });
        };
    });
    constexpr int clients = 64;
    constexpr std::size_t rounds = 20;
    struct Client {
        Socket* socket;
        Op* stream;
        std::size_t sent{0};
    };
    std::vector<Client> all;
    for (int i = 0; i < clients; ++i) {
        Socket& socket = engine().open();
        engine().connect(socket, engine().name_of(listener));
        all.push_back({&socket, nullptr});
    }
    std::mt19937 random(1);
    for (Client& client : all) {
        ASSERT_TRUE(engine().run_until([&] { return client.socket->connected; }));
        client.stream = &engine().subscribe(*client.socket, Receive::pooled);
    }
    for (std::size_t round = 0; round < rounds; ++round) {
        for (Client& client : all) {
            for (unsigned i = 0; i <= random() % 3; ++i) {
                const std::size_t length = 1 + (random() % (round % 5 == 0 ? 20'000 : 200));
                engine().send(*client.socket, pattern(length, client.sent),
                              {.batched = random() % 2 == 0});
                client.sent += length;
            }
        }
        ASSERT_TRUE(engine().run_until([&] {
            return std::all_of(all.begin(), all.end(), [](const Client& client) {
                return client.stream->received.size() == client.sent;
            });
        }));
    }
    for (const Client& client : all) {
        EXPECT_EQ(client.stream->received, pattern(client.sent));
    }
    EXPECT_EQ(engine().charged(), 0U);
}

TEST_P(Contract, DatagramsKeepTheirBorders) {
    Socket& one = engine().bound(platform::type_datagram);
    Socket& other = engine().bound(platform::type_datagram);
    const Op& to = engine().connect(one, engine().name_of(other));
    const Op& from = engine().connect(other, engine().name_of(one));
    ASSERT_TRUE(engine().run_until([&] { return to.finished() && from.finished(); }));
    ASSERT_TRUE(to.succeeded() && from.succeeded());
    const Op& zero = engine().post(other, Kind::zero_byte);
    for (std::size_t i = 1; i <= 5; ++i) {
        engine().send(one, pattern(i * 10), {.batched = i % 2 == 0});
    }
    ASSERT_TRUE(engine().finish_one(zero));
    std::vector<Op*> ops;
    for (std::size_t i = 1; i <= 5; ++i) {
        ops.push_back(&engine().receive(other, 1000));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    std::multiset<std::size_t> sizes;
    for (const Op* op : ops) {
        sizes.insert(op->transferred);
        EXPECT_EQ(taken(*op), pattern(op->transferred));
    }
    EXPECT_EQ(sizes, (std::multiset<std::size_t>{10, 20, 30, 40, 50}));
}

TEST_P(Contract, ABounceOfADatagramEndsNoSocket) {
    Socket& one = engine().bound(platform::type_datagram);
    Socket& gone = engine().bound(platform::type_datagram);
    const Address address = engine().name_of(gone);
    engine().close(gone);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(gone); }));
    const Op& connect = engine().connect(one, address);
    ASSERT_TRUE(engine().finish_one(connect));
    const Op& op = engine().receive(one, 100);
    engine().settle();
    const Op& out = engine().send(one, text("to nobody"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(platform::is_refused(op.error.code)) << op.error.code;
    ASSERT_TRUE(engine().finish_one(out));
    EXPECT_EQ(one.life, Life::open);
    EXPECT_TRUE(engine().receive(one, 100).accepted);
}

TEST_P(Contract, MoreOperationsThanTheRingHasEntries) {
    PortOptions options;
    options.backend.ring_entries = 32;
    make(options);
    std::vector<Engine::Pair> pairs;
    std::vector<Op*> ops;
    for (int i = 0; i < 600; ++i) {
        pairs.push_back(engine().adopted_pair());
        ops.push_back(&engine().receive(*pairs.back().other, 16));
    }
    engine().settle();
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        engine().send(*pairs[i].one, pattern(4, i));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    for (std::size_t i = 0; i < ops.size(); ++i) {
        ASSERT_EQ(taken(*ops[i]), pattern(4, i));
    }
    // And once more with sends that only the kernel can finish, all cancelled in one go.
    std::vector<Op*> pending;
    for (const Engine::Pair& pair : pairs) {
        pending.push_back(&engine().receive(*pair.other, 16));
        pending.push_back(&engine().post(*pair.one, Kind::zero_byte));
    }
    for (const Op* op : pending) {
        engine().cancel(*op);
    }
    ASSERT_TRUE(engine().finish_all(pending));
    EXPECT_EQ(engine().charged(), 0U);
}

TEST_P(Contract, PostsOverTheBudgetWaitAndAllGoThrough) {
    PortOptions options;
    options.budget_bytes = 8 * system_page_size();
    options.over_budget = OverBudget::queue;
    make(options);
    std::vector<Engine::Pair> pairs;
    std::vector<Op*> ops;
    for (int i = 0; i < 40; ++i) {
        pairs.push_back(engine().adopted_pair());
        ops.push_back(&engine().receive(*pairs.back().other, 4096));
        EXPECT_TRUE(ops.back()->accepted);
        EXPECT_LE(engine().charged(), options.budget_bytes);
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        engine().send(*pairs[i].one, pattern(8, i));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    EXPECT_LE(engine().view().peak, options.budget_bytes);
    for (std::size_t i = 0; i < ops.size(); ++i) {
        EXPECT_EQ(taken(*ops[i]), pattern(8, i));
    }
}

TEST_P(Contract, DegradedReceivesGetTheirData) {
    PortOptions options;
    options.budget_bytes = 2 * system_page_size();
    options.over_budget = OverBudget::degrade;
    make(options);
    std::vector<Engine::Pair> pairs;
    std::vector<Op*> ops;
    for (int i = 0; i < 20; ++i) {
        pairs.push_back(engine().adopted_pair());
        ops.push_back(&engine().receive(*pairs.back().other, 64));
        EXPECT_TRUE(ops.back()->accepted);
    }
    engine().settle();
    EXPECT_LE(engine().view().peak, options.budget_bytes);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        engine().send(*pairs[i].one, pattern(8, i));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    for (std::size_t i = 0; i < ops.size(); ++i) {
        EXPECT_EQ(taken(*ops[i]), pattern(8, i));
    }
}

TEST_P(Contract, APortClosesWithEverythingOutstanding) {
    for (int i = 0; i < 10; ++i) {
        const auto [one, other] = engine().pair();
        fill(*one);
        engine().send(*one, pattern(100'000));
        engine().send(*one, pattern(100'000), {.timeout = 60'000'000'000});
        engine().receive(*one, 100);
        engine().receive(*one, 100);
        const auto [third, fourth] = engine().adopted_pair();
        engine().subscribe(*third, static_cast<Receive>(i % 3));
        engine().post(*fourth, Kind::zero_byte);
        engine().post(engine().listener(), Kind::accept_each);
        engine().post(engine().listener(), Kind::accept);
    }
    engine().settle();
    EXPECT_GT(engine().charged(), 0U);
    engine().finish();
}

TEST_P(Contract, TerminateTakesBackEverything) {
    std::vector<Op*> ops;
    for (int i = 0; i < 10; ++i) {
        const auto [one, other] = engine().pair();
        fill(*one);
        ops.push_back(&engine().send(*one, pattern(100'000)));
        ops.push_back(&engine().receive(*one, 100));
        ops.push_back(&engine().subscribe(*other, Receive::direct));
    }
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(port().open_sockets(), 0U);
    EXPECT_EQ(engine().charged(), 0U);
    engine().settle(2);
    for (const Op* op : ops) {
        EXPECT_TRUE(op->finished());
    }
}

TEST_P(Contract, APortThatNeverRanCanBeClosed) { engine().finish(); }

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
        // Waits for ever: only the wake can end it.
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
    std::atomic<std::size_t> finished{0};
    std::vector<std::vector<Op*>> receives(threads);
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (std::size_t worker = 0; worker < threads; ++worker) {
        workers.emplace_back([&, worker] {
            const Engine::Pair& pair = pairs[worker];
            std::mt19937 random(static_cast<unsigned>(worker));
            for (std::size_t i = 0; i < rounds; ++i) {
                receives[worker].push_back(&engine().receive(*pair.other, 10));
                engine().send(*pair.one, pattern(10, i * 10), {.batched = random() % 2 == 0});
                if (random() % 8 == 0) {
                    engine().locked([&] { (void)port().post(&pairs); });
                }
                if (random() % 16 == 0) {
                    engine().locked([&] { (void)port().call_at(port().now(), nullptr); });
                }
                if (random() % 16 == 0) {
                    (void)engine().view();
                }
            }
            ++finished;
            engine().locked([&] { port().wake(); });
        });
    }
    const bool ran = engine().run_until([&] { return finished == threads; });
    for (std::thread& worker : workers) {
        worker.join();
    }
    ASSERT_TRUE(ran);
    for (std::size_t worker = 0; worker < threads; ++worker) {
        ASSERT_TRUE(engine().finish_all(receives[worker]));
        Bytes all;
        for (const Op* op : receives[worker]) {
            ASSERT_TRUE(op->succeeded());
            const Bytes part = taken(*op);
            all.insert(all.end(), part.begin(), part.end());
        }
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
    std::atomic<std::size_t> finished{0};
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (std::size_t worker = 0; worker < threads; ++worker) {
        workers.emplace_back([&, worker] {
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
            ++finished;
            engine().locked([&] { port().wake(); });
        });
    }
    const bool ran = engine().run_until([&] { return finished == threads; });
    for (std::thread& worker : workers) {
        worker.join();
    }
    ASSERT_TRUE(ran);
    for (std::size_t worker = 0; worker < threads; ++worker) {
        ASSERT_TRUE(engine().finish_all(ops[worker]));
        Bytes all;
        for (const Op* op : ops[worker]) {
            ASSERT_TRUE(op->succeeded() || op->error.fault == Fault::cancelled);
            const Bytes part = taken(*op);
            all.insert(all.end(), part.begin(), part.end());
        }
        if (all.size() < sent[worker]) {
            const Bytes rest = read_exactly(*pairs[worker].other, sent[worker] - all.size());
            all.insert(all.end(), rest.begin(), rest.end());
        }
        EXPECT_EQ(all, pattern(sent[worker]));
    }
}

TEST_P(Contract, SocketsAreOpenedAndClosedByManyThreads) {
    constexpr std::size_t threads = 4;
    std::atomic<std::size_t> finished{0};
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (std::size_t worker = 0; worker < threads; ++worker) {
        workers.emplace_back([&] {
            for (int i = 0; i < 150; ++i) {
                const auto [one, other] = engine().adopted_pair();
                engine().receive(*one, 16);
                engine().subscribe(*other, static_cast<Receive>(i % 3));
                engine().send(*one, pattern(4));
                engine().close(*one);
                engine().abort(*other);
            }
            ++finished;
            engine().locked([&] { port().wake(); });
        });
    }
    const bool ran = engine().run_until([&] { return finished == threads; });
    for (std::thread& worker : workers) {
        worker.join();
    }
    ASSERT_TRUE(ran);
    ASSERT_TRUE(engine().run_until([&] { return engine().closed.size() == threads * 300; }));
    EXPECT_EQ(port().open_sockets(), 0U);
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
    Engine second(GetParam(), {});
    ASSERT_TRUE(second.usable());
    Handle one = no_handle;
    Handle other = no_handle;
    ASSERT_TRUE(platform::socket_pair(one, other));
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
            std::string reason;
            BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 64);
            auto backend = make_backend(GetParam(), *pool, {}, reason);
            if (backend != nullptr) {
                Port mine({}, *pool, std::move(backend));
                int value = 0;
                for (int i = 0; i < 200; ++i) {
                    {
                        const std::lock_guard lock(mine.mutex());
                        (void)mine.post(&value);
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

INSTANTIATE_TEST_SUITE_P(Backends, Contract, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });

TEST(Backends, AutoTakesTheFirstThatWorks) {
    BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 4);
    std::string reason;
    std::string expected;
    for (const auto& [name, state] : probe_backends()) {
        if (state == "ok") {
            expected = name;
            break;
        }
    }
    {
        const auto backend = make_backend("auto", *pool, {}, reason);
        ASSERT_NE(backend, nullptr);
        EXPECT_EQ(backend->name(), expected);
        EXPECT_FALSE(reason.empty());
    }
    pool->close();
}

TEST(Backends, AnUnknownNameIsRefusedWithTheNamesThereAre) {
    BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 4);
    std::string reason;
    EXPECT_EQ(make_backend("kqueue", *pool, {}, reason), nullptr);
    for (const std::string& name : platform::backends()) {
        EXPECT_NE(reason.find(name), std::string::npos);
    }
    EXPECT_TRUE(backend_features("kqueue").empty());
    pool->close();
}

TEST(Backends, EveryOneIsProbed) {
    std::vector<std::string> names;
    for (const auto& [name, state] : probe_backends()) {
        names.push_back(name);
        EXPECT_FALSE(state.empty());
        EXPECT_EQ(backend_features(name).empty(), state != "ok");
    }
    EXPECT_EQ(names, platform::backends());
}

}  // namespace
}  // namespace iocp::contract
