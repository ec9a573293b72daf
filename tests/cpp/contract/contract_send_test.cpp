// Sends: whole, in order, gathered, on half-closed connections, and as datagrams.
#include "contract.hpp"

namespace iocp::contract {
namespace {

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
    const Op& op = engine().post(*one, OperationKind::send, {}, {}, [&](Op& what) {
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

TEST_P(Contract, HalfAConnectionGoesOn) {
    const auto [one, other] = engine().pair();
    Op& stream = engine().subscribe(*other, ReceiveStrategy::pooled);
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

TEST_P(Contract, DatagramsKeepTheirBorders) {
    if (modelled()) {
        GTEST_SKIP() << "the model has no datagrams";
    }
    Socket& one = engine().bound(platform::type_datagram);
    Socket& other = engine().bound(platform::type_datagram);
    const Op& to = engine().connect(one, engine().name_of(other));
    const Op& from = engine().connect(other, engine().name_of(one));
    ASSERT_TRUE(engine().run_until([&] { return to.finished() && from.finished(); }));
    ASSERT_TRUE(to.succeeded() && from.succeeded());
    const Op& zero = engine().post(other, OperationKind::zero_byte);
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

TEST_P(Contract, AWaitForRoomIsChargedNothingAndFollowsWhatWasSent) {
    const auto [one, other] = engine().pair();
    const Op& at_once = engine().post(*one, OperationKind::writable);
    EXPECT_EQ(at_once.outcome, Outcome::done);
    const std::size_t total = 16 * mebibyte;
    const Op& send = engine().send(*one, pattern(total));
    const std::uint64_t charged = engine().charged();
    const Op& room = engine().post(*one, OperationKind::writable);
    EXPECT_EQ(room.outcome, Outcome::queued);
    EXPECT_EQ(engine().charged(), charged);
    engine().settle();
    EXPECT_FALSE(room.finished());
    EXPECT_EQ(read_exactly(*other, total), pattern(total));
    ASSERT_TRUE(engine().finish_one(send));
    ASSERT_TRUE(engine().finish_one(room));
    EXPECT_TRUE(room.succeeded());
}

TEST_P(Contract, ABounceOfADatagramEndsNoSocket) {
    if (modelled()) {
        GTEST_SKIP() << "the model has no datagrams";
    }
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
    EXPECT_EQ(one.state, SocketState::open);
    EXPECT_TRUE(engine().receive(one, 100).accepted);
}

}  // namespace
}  // namespace iocp::contract
