// Cancels and timeouts, and their races with completions.
#include <random>

#include "contract.hpp"

namespace iocp::contract {
namespace {

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
        &engine().post(*third, OperationKind::zero_byte),
        &engine().receive(*fourth, 10),
        &engine().receive(*fourth, 10),
        &engine().post(engine().listener(), OperationKind::accept),
        &engine().post(engine().listener(), OperationKind::accept_each),
        &engine().subscribe(*fifth, ReceiveStrategy::pooled),
        &engine().subscribe(*sixth, ReceiveStrategy::direct),
        &engine().subscribe(*other, ReceiveStrategy::zero_byte),
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
    const Op& last = engine().receive(*other, 10);
    engine().settle();
    engine().close(*one);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(platform::is_reset(last.error.code)) << "no end of the stream after a part";
    EXPECT_EQ(last.transferred, 0U) << "not one byte more";
}

// Every sent byte is received once, whether the cancel or the data wins each race.
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

}  // namespace
}  // namespace iocp::contract
