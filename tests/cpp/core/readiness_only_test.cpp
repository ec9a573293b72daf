// receive_each with the strategy zero_byte, which waits without memory and then reads in bounded
// drains (R11-R13).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReadinessOnlyTest : public CoreTest {
protected:
    Posted& subscribe(Socket& socket) {
        return post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    }
    // Makes a subscription that reads once in a turn, and has made the first of five reads.
    Posted& read_once_of_five() {
        PortOptions options;
        options.drain.reads = 1;
        make(options);
        Socket& socket = open_socket();
        backend().on(socket).drained = false;
        Posted& op = subscribe(socket);
        backend().on(socket).reads = std::deque<StartResult>(5, done(1));
        backend().deliver_ready(op.id);
        turn();
        return op;
    }
};

TEST_F(ReadinessOnlyTest, HoldsNoMemoryWhileItWaits) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
    EXPECT_THAT(calls(socket), ElementsAre("start:receive_each?"));
}

TEST_F(ReadinessOnlyTest, ReadsWhatIsThereAndWaitsAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(100)};
    backend().deliver_ready(op.id);
    forget_calls();
    turn();
    EXPECT_THAT(op.data, ElementsAre(100U));
    EXPECT_THAT(calls(socket), ElementsAre("read", "start:receive_each?"));
    EXPECT_EQ(op.completions, 0) << "the subscription goes on";
    EXPECT_EQ(view().peak, 0U);
}

TEST_F(ReadinessOnlyTest, WhereAStartReadsItWaitsAgainWhenTheAnswersHaveGone) {
    make({}, {.start_reads = true});
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(100)};
    backend().deliver_ready(op.id);
    forget_calls();
    turn();
    EXPECT_THAT(op.data, ElementsAre(100U));
    send(socket, {.batched = true});
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("read", "start:send", "start:receive_each?"));
}

TEST_F(ReadinessOnlyTest, WhatAStartFindsIsReadAndLookedForAgainBeforeTheNextStart) {
    make({}, {.start_reads = true});
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).starts = {done(0)};
    backend().on(socket).reads = {done(100), done(50), done(25), pending()};
    backend().deliver_ready(op.id);
    forget_calls();
    turns(2);
    EXPECT_THAT(calls(socket), ElementsAre("read", "start:receive_each?"));
    turns(3);
    EXPECT_THAT(op.data, ElementsAre(100U, 50U, 25U));
    EXPECT_THAT(calls(socket), ElementsAre("read", "start:receive_each?", "read", "read", "read",
                                           "start:receive_each?"));
}

TEST_F(ReadinessOnlyTest, ReadsUntilTheCallWouldBlock) {
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(10), done(20), pending()};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U, 20U));
    EXPECT_EQ(backend().read_sizes.size(), 3U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(ReadinessOnlyTest, DeliversTheBytesThatWereRead) {
    keep_slices = true;
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(3), done(2), pending()};
    backend().deliver_ready(op.id);
    turn();
    ASSERT_EQ(slices.size(), 2U);
    EXPECT_EQ(slices[0].data()[0], std::byte{0});
    EXPECT_EQ(slices[0].data()[2], std::byte{2});
    EXPECT_EQ(slices[1].data()[0], std::byte{3});
    EXPECT_EQ(slices[1].data()[1], std::byte{4});
}

TEST_F(ReadinessOnlyTest, EndOfStreamIsToldOnceAndEndsIt) {
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(5), done(0)};
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(5U));
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(socket.state, SocketState::open) << "half of the connection still works";
    EXPECT_TRUE(send(socket).accepted);
    EXPECT_TRUE(backend().request_of(op.id) == nullptr);
}

TEST_F(ReadinessOnlyTest, AFatalErrorEndsSubscriptionAndSocket) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {failed(code_fatal)};
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(op.ends, 0) << "an error is not an end of stream";
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(ReadinessOnlyTest, AnErrorOfItsRequestEndsIt) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(ReadinessOnlyTest, LackOfResourcesIsTriedAgainNextTurn) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {failed(code_exhausted), done(7)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, IsEmpty());
    EXPECT_EQ(op.completions, 0);
    turn();
    EXPECT_THAT(op.data, ElementsAre(7U));
}

TEST_F(ReadinessOnlyTest, ASpuriousWakeReadsNothingAndWaitsAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, IsEmpty());
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(ReadinessOnlyTest, OneTurnReadsABoundedNumberOfTimes) {
    PortOptions options;
    options.drain.reads = 3;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = std::deque<StartResult>(7, done(1));
    backend().deliver_ready(op.id);
    turn();
    EXPECT_EQ(op.data.size(), 3U);
    EXPECT_EQ(backend().request_of(op.id), nullptr) << "it goes on reading, it does not wait";
    turn();
    EXPECT_EQ(op.data.size(), 6U);
    turn();
    EXPECT_EQ(op.data.size(), 7U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(ReadinessOnlyTest, WithMoreToReadTheNextTurnDoesNotWait) {
    PortOptions options;
    options.drain.reads = 1;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = std::deque<StartResult>(5, done(1));
    backend().deliver_ready(op.id);
    for (int i = 0; i < 5; ++i) {
        turn_until(backend().time + 1'000'000);
        EXPECT_EQ(op.data.size(), static_cast<std::size_t>(i) + 1);
        if (i > 0) {
            EXPECT_EQ(backend().waits.back(), 0);
        }
    }
}

TEST_F(ReadinessOnlyTest, OneTurnReadsABoundedNumberOfBytes) {
    PortOptions options;
    options.drain.bytes = 4096;
    options.drain.reads = 100;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(1000), done(2000), done(1096), done(500)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, ElementsAre(1000U, 2000U, 1096U));
    EXPECT_THAT(backend().read_sizes, ElementsAre(4096U, 3096U, 1096U))
        << "no read asks for more than the turn may still take";
    turn();
    EXPECT_THAT(op.data, ElementsAre(1000U, 2000U, 1096U, 500U));
}

TEST_F(ReadinessOnlyTest, EveryoneIsServedBeforeAnyoneIsServedTwice) {
    PortOptions options;
    options.drain.reads = 2;
    make(options);
    std::vector<Posted*> all;
    for (int i = 0; i < 10; ++i) {
        Socket& socket = open_socket();
        backend().on(socket).drained = false;
        backend().on(socket).reads = std::deque<StartResult>(6, done(1));
        all.push_back(&subscribe(socket));
        backend().deliver_ready(all.back()->id);
    }
    for (std::size_t served = 2; served <= 6; served += 2) {
        turn();
        for (const Posted* op : all) {
            EXPECT_EQ(op->data.size(), served);
        }
    }
}

TEST_F(ReadinessOnlyTest, AHotSocketDoesNotKeepOthersFromTheirPackets) {
    PortOptions options;
    options.drain.reads = 2;
    make(options);
    Socket& hot = open_socket();
    backend().on(hot).drained = false;
    backend().on(hot).reads = std::deque<StartResult>(1000, done(1));
    const Posted& op = subscribe(hot);
    backend().deliver_ready(op.id);
    turn();
    const Posted& other = receive(open_socket());
    backend().deliver(other.id, 1);
    turn();
    EXPECT_TRUE(other.succeeded());
    EXPECT_LE(op.data.size(), 6U);
}

TEST_F(ReadinessOnlyTest, DataThatIsThereWhenItWaitsAgainStaysWithinTheTurnsBound) {
    PortOptions options;
    options.drain.reads = 4;
    make(options);
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    // Every new wait ends at once, and every read is short: the peer writes as fast as the port
    // reads.
    backend().on(socket).starts = std::deque<StartResult>(200, done(0));
    backend().on(socket).reads = std::deque<StartResult>(200, done(1));
    backend().deliver_ready(op.id);
    turn();
    EXPECT_LE(op.data.size(), 4U);
}

TEST_F(ReadinessOnlyTest, CancelledWhileItWaits) {
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    EXPECT_TRUE(cancel(op));
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.ends, 0);
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_TRUE(receive(socket).accepted);
}

TEST_F(ReadinessOnlyTest, CancelledBetweenTurnsWhileThereIsMoreToRead) {
    Posted& op = read_once_of_five();
    EXPECT_TRUE(cancel(op));
    turns(3);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.data.size(), 1U);
}

TEST_F(ReadinessOnlyTest, ASocketClosedWhileThereIsMoreToReadIsReadNoMore) {
    const Posted& op = read_once_of_five();
    Socket& socket = *op.socket;
    close(socket);
    turns(3);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(backend().read_sizes.size(), 1U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(ReadinessOnlyTest, ASlotTakenAgainIsNotReadForItsPredecessor) {
    const Posted& op = read_once_of_five();
    Socket& socket = *op.socket;
    close(socket);
    turn();
    Socket& next = open_socket();
    ASSERT_EQ(&next, &socket);
    turns(3);
    EXPECT_THAT(calls(next), IsEmpty());
}

TEST_F(ReadinessOnlyTest, MessagesShareARegionThatIsUsedAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    for (int i = 0; i < 100; ++i) {
        backend().on(socket).reads = {done(50'000)};
        backend().deliver_ready(op.id);
        turn();
    }
    EXPECT_EQ(op.data.size(), 100U);
    EXPECT_EQ(pool().blocks_out(), 1U)
        << "each message was dropped at once, so one region serves all";
}

TEST_F(ReadinessOnlyTest, HoardedRegionsTurnMessagesIntoCopies) {
    PortOptions options;
    options.region_size = 64 * page();
    options.region_limit = 4;
    make(options);
    keep_slices = true;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    for (int i = 0; i < 200; ++i) {
        backend().on(socket).reads = {done(50'000)};
        backend().deliver_ready(op.id);
        turn();
    }
    EXPECT_EQ(op.data.size(), 200U);
    EXPECT_EQ(slices.size(), 200U);
    EXPECT_LE(pool().blocks_out(), options.region_limit + 1);
    unsigned expected = 0;
    for (const Slice& slice : slices) {
        ASSERT_EQ(slice.data()[0], static_cast<std::byte>(expected)) << "a copy holds the same";
        expected += 50'000;
    }
}

}  // namespace
}  // namespace iocp::scripted
