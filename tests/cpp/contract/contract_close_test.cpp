// The end of sockets and ports, and handles that are adopted, detached or reused.
#include <set>

#include "contract.hpp"

namespace iocp::contract {
namespace {

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
    EXPECT_EQ(last.transferred, 0U) << "the end of the stream follows the data";
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
    EXPECT_EQ(op.error.fault, Fault::timed_out);
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
    Op& stream = engine().subscribe(*other, ReceiveStrategy::pooled);
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

// No byte and no cancel of a closed socket reaches the next socket with its descriptor number.
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
            // The receive has ended by its cancel or by the peer's close, in both cases without
            // data.
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
    engine().locked([&] { port().sockets().detach(*one); });
    while (!engine().locked([&] { return one->idle(); })) {
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
    if (modelled()) {
        GTEST_SKIP() << "the model has no descriptors to duplicate";
    }
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
    if (modelled()) {
        GTEST_SKIP() << "the model has no descriptors that block";
    }
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
    engine().locked([&] { port().sockets().detach(socket); });
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(socket); }));
    EXPECT_TRUE(platform::is_nonblocking(one));
    platform::close_handle(one);
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
        engine().subscribe(*third, static_cast<ReceiveStrategy>(i % 3));
        engine().post(*fourth, OperationKind::zero_byte);
        engine().post(engine().listener(), OperationKind::accept_each);
        engine().post(engine().listener(), OperationKind::accept);
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
        ops.push_back(&engine().subscribe(*other, ReceiveStrategy::direct));
    }
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(port().sockets().open_count(), 0U);
    EXPECT_EQ(engine().charged(), 0U);
    engine().settle(2);
    for (const Op* op : ops) {
        EXPECT_TRUE(op->finished());
    }
}

TEST_P(Contract, APortThatNeverRanCanBeClosed) { engine().finish(); }

}  // namespace
}  // namespace iocp::contract
