// receive_each: data, end of stream and errors, each strategy, bounded drains (R11-R13).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WatchingTest : public CoreTest {
protected:
    Posted& subscribe(Socket& socket) {
        return post(socket, Kind::receive_each, {.strategy = Receive::zero_byte});
    }
};

TEST_F(WatchingTest, HoldsNoMemoryWhileItWaits) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
    EXPECT_THAT(calls(socket), ElementsAre("start:receive_each?"));
}

TEST_F(WatchingTest, ReadsWhatIsThereAndWaitsAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(100)};
    backend().deliver_ready(op.id);
    forget_calls();
    turn();
    EXPECT_THAT(op.data, ElementsAre(100U));
    EXPECT_THAT(calls(socket), ElementsAre("read", "start:receive_each?"));
    EXPECT_EQ(op.completions, 0) << "the subscription stands";
    EXPECT_EQ(view().peak, 0U);
}

TEST_F(WatchingTest, ReadsUntilTheCallWouldBlock) {
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

TEST_F(WatchingTest, DeliversTheBytesThatWereRead) {
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

TEST_F(WatchingTest, EndOfStreamIsToldOnceAndEndsIt) {
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = {done(5), done(0)};
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(5U));
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(socket.life, Life::open) << "half of the connection still works";
    EXPECT_TRUE(send(socket).accepted);
    EXPECT_TRUE(backend().request_of(op.id) == nullptr);
}

TEST_F(WatchingTest, AFatalErrorEndsSubscriptionAndSocket) {
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

TEST_F(WatchingTest, AnErrorOfItsRequestEndsIt) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(WatchingTest, LackOfResourcesIsTriedAgainNextTurn) {
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

TEST_F(WatchingTest, ASpuriousWakeReadsNothingAndWaitsAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, IsEmpty());
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(WatchingTest, OneTurnReadsABoundedNumberOfTimes) {
    PortOptions options;
    options.drain_reads = 3;
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

TEST_F(WatchingTest, WithMoreToReadTheNextTurnDoesNotWait) {
    PortOptions options;
    options.drain_reads = 1;
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

TEST_F(WatchingTest, OneTurnReadsABoundedNumberOfBytes) {
    PortOptions options;
    options.drain_bytes = 4096;
    options.drain_reads = 100;
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

TEST_F(WatchingTest, EveryoneIsServedBeforeAnyoneIsServedTwice) {
    PortOptions options;
    options.drain_reads = 2;
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

TEST_F(WatchingTest, AHotSocketDoesNotKeepOthersFromTheirPackets) {
    PortOptions options;
    options.drain_reads = 2;
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

TEST_F(WatchingTest, DataThatIsThereWhenItWaitsAgainStaysWithinTheTurnsBound) {
    PortOptions options;
    options.drain_reads = 4;
    make(options);
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    // Every new wait ends at once, and every read is short: a peer that writes as fast as it is
    // read.
    backend().on(socket).starts = std::deque<StartResult>(200, done(0));
    backend().on(socket).reads = std::deque<StartResult>(200, done(1));
    backend().deliver_ready(op.id);
    turn();
    EXPECT_LE(op.data.size(), 4U);
}

TEST_F(WatchingTest, CancelledWhileItWaits) {
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    EXPECT_TRUE(cancel(op));
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.ends, 0);
    EXPECT_EQ(socket.life, Life::open);
    EXPECT_TRUE(receive(socket).accepted);
}

TEST_F(WatchingTest, CancelledBetweenTurnsWhileThereIsMoreToRead) {
    PortOptions options;
    options.drain_reads = 1;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    Posted& op = subscribe(socket);
    backend().on(socket).reads = std::deque<StartResult>(5, done(1));
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(cancel(op));
    turns(3);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.data.size(), 1U);
}

TEST_F(WatchingTest, ASocketClosedWhileThereIsMoreToReadIsReadNoMore) {
    PortOptions options;
    options.drain_reads = 1;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = std::deque<StartResult>(5, done(1));
    backend().deliver_ready(op.id);
    turn();
    close(socket);
    turns(3);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(backend().read_sizes.size(), 1U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(WatchingTest, ASlotTakenAgainIsNotReadForItsPredecessor) {
    PortOptions options;
    options.drain_reads = 1;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).drained = false;
    const Posted& op = subscribe(socket);
    backend().on(socket).reads = std::deque<StartResult>(5, done(1));
    backend().deliver_ready(op.id);
    turn();
    close(socket);
    turn();
    Socket& next = open_socket();
    ASSERT_EQ(&next, &socket);
    turns(3);
    EXPECT_THAT(calls(next), IsEmpty());
}

TEST_F(WatchingTest, MessagesShareARegionThatIsUsedAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    for (int i = 0; i < 100; ++i) {
        backend().on(socket).reads = {done(50'000)};
        backend().deliver_ready(op.id);
        turn();
    }
    EXPECT_EQ(op.data.size(), 100U);
    EXPECT_EQ(pool().blocks_out(), 1U) << "let go of at once, the same memory serves all";
}

TEST_F(WatchingTest, HoardedRegionsTurnMessagesIntoCopies) {
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

class DirectTest : public CoreTest {
protected:
    Posted& subscribe(Socket& socket, std::uint32_t bytes = 4096) {
        return post(socket, Kind::receive_each, {.strategy = Receive::direct, .block_size = bytes});
    }
};

TEST_F(DirectTest, HoldsOneChargedBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(pool().blocks_out(), 1U);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->watching);
    EXPECT_EQ(request->bytes, 4096U);
}

TEST_F(DirectTest, TheNextBufferIsPostedWhenDataCame) {
    keep_slices = true;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket, 8192);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver(op.id, 300);
    turn();
    EXPECT_THAT(op.data, ElementsAre(300U));
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_EQ(pool().blocks_out(), 2U) << "the reader's, which is charged no more, and the next";
    slices.clear();
    EXPECT_EQ(pool().blocks_out(), 1U);
}

TEST_F(DirectTest, EndOfStreamIsToldOnceAndReturnsTheBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, 0);
    turns(2);
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(DirectTest, WithoutBudgetItWatchesInstead) {
    PortOptions options;
    options.budget_bytes = page();
    make(options);
    Posted& first = receive(open_socket());
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_TRUE(op.accepted);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->watching);
    EXPECT_EQ(charged(), page());
    backend().on(socket).reads = {done(64)};
    cancel(first);
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(64U));
    backend().deliver_ready(op.id);
    turn();
    request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->watching) << "the budget has room again";
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, DataThatIsThereWhenStartedIsBoundedPerTurn) {
    PortOptions options;
    options.drain_reads = 4;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).starts = std::deque<StartResult>(10, done(5));
    const Posted& op = subscribe(socket);
    turn();
    EXPECT_LE(op.data.size(), 8U);
    turns(4);
    EXPECT_EQ(op.data.size(), 10U);
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, CancelledKeepsItsBufferUntilThePacketIsTaken) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    turn();
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(pool().blocks_out(), 1U);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(DirectTest, DataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    backend().deliver(op.id, 20);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(20U));
    EXPECT_TRUE(op.completed());
    EXPECT_TRUE(backend().held().empty()) << "a cancelled subscription is not armed again";
}

TEST_F(DirectTest, AReadyPacketStartsItAgainWithTheBufferItHas) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).starts = {done(11)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, ElementsAre(11U));
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, AFatalErrorReturnsTheBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(pool().blocks_out(), 0U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(DirectTest, AnyErrorEndsTheSocketThatNobodyWouldReadAnyMore) {
    Socket& socket = open_socket();
    const Posted& s = send(socket);
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_plain);
    turns(2);
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(s.error.code, code_plain);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_plain);
}

// A backend whose pooled receives stand in the kernel and pick their memory when data comes.
class PooledTest : public CoreTest {
protected:
    void SetUp() override {
        Capabilities capable;
        capable.multishot_receive = true;
        make({}, capable);
    }
    Posted& subscribe(Socket& socket) { return post(socket, Kind::receive_each); }
    Slice filled(std::size_t length) {
        Region* region = pool().take(length);
        Slice slice = Slice::share(*region, region->data(), length);
        region->drop_reference();
        return slice;
    }
    void deliver_data(const Posted& op, std::size_t length, bool more) {
        backend().deliver_slice(op.id, filled(length), more);
    }
};

TEST_F(PooledTest, StandsInTheKernelWithoutMemory) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(charged(), 0U);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->watching);
}

TEST_F(PooledTest, ManyPacketsComeFromOneRequest) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    for (std::size_t i = 1; i <= 50; ++i) {
        deliver_data(op, i, true);
    }
    turn();
    EXPECT_EQ(op.data.size(), 50U);
    EXPECT_EQ(op.data[49], 50U);
    EXPECT_EQ(backend().started.size(), 1U);
    EXPECT_EQ(pool().blocks_out(), 0U) << "delivered and let go";
}

TEST_F(PooledTest, ARequestTheKernelRetiredIsStartedAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 10, true);
    deliver_data(op, 20, false);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U, 20U));
    EXPECT_EQ(backend().started.size(), 2U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(PooledTest, LackOfBuffersStartsItAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_exhausted);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(backend().started.size(), 2U);
    deliver_data(op, 10, true);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U));
}

TEST_F(PooledTest, LackOfBuffersDoesNotUndoACancel) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    backend().deliver(op.id, -code_exhausted);
    turns(2);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(socket.life, Life::open) << "a lack of buffers ends no socket";
}

TEST_F(PooledTest, ACancelNobodyAskedForStartsItAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(backend().started.size(), 2U);
}

TEST_F(PooledTest, EndOfStreamIsToldOnce) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 10, true);
    backend().deliver(op.id, 0);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(10U));
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PooledTest, DataBehindTheEndIsLate) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, 0);
    deliver_data(op, 10, false);
    turns(2);
    EXPECT_EQ(op.ends, 1);
    EXPECT_THAT(op.data, IsEmpty());
    EXPECT_EQ(port().counts().late, 1U);
    EXPECT_EQ(pool().blocks_out(), 0U) << "what came late gives its memory back";
}

TEST_F(PooledTest, DataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    deliver_data(op, 10, true);
    deliver_data(op, 20, true);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U, 20U));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(PooledTest, LastDataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    deliver_data(op, 10, false);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(PooledTest, LargeMessagesAreReadInsteadAndNothingIsLostMeanwhile) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 64 * 1024, true);
    deliver_data(op, 64 * 1024, true);
    turn();
    EXPECT_EQ(op.data.size(), 2U);
    EXPECT_EQ(backend().count("cancel:receive_each"), 1U) << "the standing request is called back";
    deliver_data(op, 100, true);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.data.size(), 3U);
    EXPECT_EQ(op.completions, 0);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->watching);
    std::size_t expected = 3;
    for (int i = 0; i < 200 && backend().request_of(op.id)->watching; ++i) {
        backend().on(socket).reads = {done(10)};
        backend().deliver_ready(op.id);
        turn();
        EXPECT_EQ(op.data.size(), ++expected);
        ASSERT_NE(backend().request_of(op.id), nullptr);
    }
    EXPECT_FALSE(backend().request_of(op.id)->watching)
        << "small messages bring the standing request back";
}

TEST_F(PooledTest, TheEndWhileItChangesItsWayIsToldOnce) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 64 * 1024, true);
    deliver_data(op, 64 * 1024, true);
    turn();
    backend().deliver(op.id, 0);
    turn();
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 1);
}

TEST_F(PooledTest, WithoutThatCapabilityItWatches) {
    make({});
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->watching);
}

}  // namespace
}  // namespace iocp::scripted
