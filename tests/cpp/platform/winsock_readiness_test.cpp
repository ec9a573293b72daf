// Readiness waits, and the reads that follow them.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockReadiness : public WinsockSeam {};

// A readiness wait turns an error into readiness, and the following read gets the error.
TEST_F(WinsockReadiness, TheErrorThatALookMetIsWhatTheNextReadGets) {
    const auto [one, other] = engine().pair();
    const Op& look = engine().post(*other, OperationKind::zero_byte);
    engine().settle();
    engine().abort(*one);
    ASSERT_TRUE(engine().finish_one(look));
    EXPECT_TRUE(look.succeeded());
    const Op& next = engine().receive(*other, 10);
    if (next.accepted) {
        ASSERT_TRUE(engine().finish_one(next));
    }
    EXPECT_TRUE(platform::is_reset(next.accepted ? next.error.code : next.refusal.code));
    for (const ReceiveStrategy strategy : {ReceiveStrategy::pooled, ReceiveStrategy::zero_byte}) {
        const auto [here, there] = engine().pair();
        const Op& stream = engine().subscribe(*there, strategy);
        engine().settle();
        engine().abort(*here);
        ASSERT_TRUE(engine().finish_one(stream));
        EXPECT_TRUE(platform::is_reset(stream.error.code));
        EXPECT_EQ(stream.ends, 0) << "a reset is no end of the stream";
    }
}

// If another reader has taken the data that ended a readiness wait, the receive waits again.
TEST_F(WinsockReadiness, AWatchedReceiveThatFindsNothingAfterAllIsStartedAgain) {
    PortOptions options;
    options.budget_bytes = 2 * system_page_size();
    options.over_budget = OverBudget::queue;
    options.queue_patience = 1'000'000;
    make(options);
    const auto idle = engine().pair();
    const auto [one, other] = engine().pair();
    engine().receive(*idle.other, system_page_size() + 1);  // takes both pages of the budget
    const Op& held = engine().receive(*other, 64);
    const Op& second = engine().receive(*other, 64);
    engine().send(*one, Bytes(5, std::byte{1}));
    script.empty_reads = 3;
    ASSERT_TRUE(engine().finish_one(held));
    EXPECT_EQ(held.transferred, 5U);
    EXPECT_EQ(script.empty_reads, 0);
    script.empty_reads = 1000;
    engine().send(*one, Bytes(7, std::byte{2}));
    engine().settle();
    EXPECT_FALSE(second.finished());
    EXPECT_TRUE(engine().cancel(second));
    ASSERT_TRUE(engine().finish_one(second));
    EXPECT_TRUE(second.error);
    script.empty_reads = 0;
    const Op& last = engine().receive(*other, 64);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_EQ(last.transferred, 7U);
}

}  // namespace
}  // namespace iocp::contract

#endif
