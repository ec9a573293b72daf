// Receives: outcomes, charges, order, waiting for all, and zero-byte receives.
#include "base/page_span.hpp"
#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

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
        const Bytes all = taken(ops);
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

TEST_P(Contract, AZeroByteReceiveLeavesTheDataInPlace) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*other, OperationKind::zero_byte);
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
    const Op& op = engine().post(*other, OperationKind::zero_byte);
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
        ops.push_back(&engine().post(*pairs.back().other, OperationKind::zero_byte));
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

}  // namespace
}  // namespace iocp::contract
