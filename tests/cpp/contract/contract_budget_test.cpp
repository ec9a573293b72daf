// Tests that post more operations than the ring or the budget has room for.
#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

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
    // Posts operations that only the kernel can finish, again more than the ring has entries, and
    // cancels all of them before the next turn.
    std::vector<Op*> pending;
    for (const Engine::Pair& pair : pairs) {
        pending.push_back(&engine().receive(*pair.other, 16));
        pending.push_back(&engine().post(*pair.one, OperationKind::zero_byte));
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

// A receive is tried before the budget queue holds it. So data that arrives while it is held is
// there when its readiness wait starts.
TEST_P(Contract, AReceiveThatLeavesTheQueueGetsWhatCameMeanwhile) {
    PortOptions options;
    options.budget_bytes = 2 * system_page_size();
    options.over_budget = OverBudget::queue;
    options.queue_patience = 1'000'000;
    make(options);
    const auto idle = engine().adopted_pair();
    // The buffer touches two pages, which is the whole budget.
    const Op& in_front = engine().receive(*idle.other, system_page_size() + 1);
    std::vector<Engine::Pair> pairs;
    std::vector<Op*> ops;
    for (std::size_t i = 0; i < 20; ++i) {
        pairs.push_back(engine().adopted_pair());
        ops.push_back(&engine().receive(*pairs.back().other, 64));
        engine().send(*pairs.back().one, pattern(8, i));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    EXPECT_FALSE(in_front.finished());
    EXPECT_EQ(port().figures().counts().degraded, ops.size());
    for (std::size_t i = 0; i < ops.size(); ++i) {
        EXPECT_EQ(taken(*ops[i]), pattern(8, i));
    }
}

}  // namespace
}  // namespace iocp::contract
