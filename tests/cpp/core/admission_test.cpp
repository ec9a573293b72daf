// Admission, tested without a port: charges, held posts, refusals, refunds, and the effects
// (effects.hpp) that it adds to sockets.
#include "core/admission.hpp"

#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

class AdmissionTest : public PartsTest {
protected:
    void budget(std::size_t pages, OverBudget policy = OverBudget::queue) {
        PortOptions options;
        options.budget_bytes = pages * page();
        options.over_budget = policy;
        make(options);
    }
    Admission& admission() { return parts().admission; }
    [[nodiscard]] std::uint64_t pages() { return parts().ledger.now_pages(); }
};

TEST_F(AdmissionTest, AChargeIsEveryPageAndReturnsWhenTheOperationLeaves) {
    Socket& socket = open_socket();
    Operation& op = operation(socket, OperationKind::receive, 3);
    EXPECT_FALSE(admission().charge(op, false));
    EXPECT_EQ(pages(), 3U);
    EXPECT_EQ(socket.charged_pages, 3U);
    admission().end(op);
    EXPECT_EQ(pages(), 0U);
    EXPECT_EQ(socket.charged_pages, 0U);
}

TEST_F(AdmissionTest, OverTheBudgetAPostIsRefusedWithoutOthersAndHeldBesideThem) {
    budget(2);
    Socket& socket = open_socket();
    EXPECT_EQ(admission().charge(operation(socket, OperationKind::receive, 3), true).fault,
              Fault::budget);
    EXPECT_FALSE(admission().charge(operation(socket, OperationKind::receive, 2), false));
    EXPECT_EQ(admission().charge(operation(socket, OperationKind::receive), false).fault,
              Fault::budget);
    Operation& held = operation(socket, OperationKind::receive);
    EXPECT_FALSE(admission().charge(held, true));
    EXPECT_TRUE(held.held);
    EXPECT_EQ(held.receipt.pages(), 0U);
    EXPECT_EQ(admission().held(), 1U);
    EXPECT_EQ(parts().metrics.counts.refusals, 2U);
}

TEST_F(AdmissionTest, HeldOperationsAreAdmittedInOrder) {
    budget(2);
    Socket& socket = open_socket();
    Operation& first = posted(socket, OperationKind::receive, 2);
    EXPECT_FALSE(admission().charge(first, false));
    Operation& large = posted(open_socket(), OperationKind::receive, 2);
    Operation& small = posted(open_socket(), OperationKind::receive, 1);
    EXPECT_FALSE(admission().charge(large, true));
    EXPECT_FALSE(admission().charge(small, true));
    EXPECT_EQ(admission().admit_next(), nullptr);
    admission().end(first);
    EXPECT_EQ(admission().admit_next(), &large);
    EXPECT_EQ(admission().admit_next(), nullptr) << "the small one fits no more";
    admission().end(large);
    EXPECT_EQ(admission().admit_next(), &small);
    EXPECT_EQ(admission().held(), 0U);
}

TEST_F(AdmissionTest, AnOperationThatHasEndedIsPassedOver) {
    budget(1);
    Operation& first = posted(open_socket(), OperationKind::receive);
    EXPECT_FALSE(admission().charge(first, false));
    Operation& ended = posted(open_socket(), OperationKind::receive);
    Operation& next = posted(open_socket(), OperationKind::receive);
    EXPECT_FALSE(admission().charge(ended, true));
    EXPECT_FALSE(admission().charge(next, true));
    admission().unhold(ended);
    admission().end(first);
    EXPECT_EQ(admission().admit_next(), &next);
}

TEST_F(AdmissionTest, TheCapOfASocketIsItsOwn) {
    PortOptions options;
    options.caps.socket_receives = 1;
    make(options);
    Socket& socket = open_socket();
    Operation& first = operation(socket, OperationKind::receive);
    EXPECT_FALSE(admission().charge(first, false));
    EXPECT_EQ(admission().charge(operation(socket, OperationKind::receive), true).fault,
              Fault::budget);
    EXPECT_FALSE(admission().charge(operation(open_socket(), OperationKind::receive), true));
    EXPECT_FALSE(admission().charge(operation(socket, OperationKind::send), true))
        << "sends have their own";
    admission().end(first);
    EXPECT_FALSE(admission().charge(operation(socket, OperationKind::receive), true));
}

TEST_F(AdmissionTest, DegradeLetsAReceiveWatch) {
    budget(1, OverBudget::degrade);
    EXPECT_FALSE(admission().charge(operation(open_socket(), OperationKind::receive), false));
    Operation& late = operation(open_socket(), OperationKind::receive);
    EXPECT_FALSE(admission().charge(late, true));
    EXPECT_TRUE(late.readiness_only);
    EXPECT_EQ(pages(), 1U);
}

TEST_F(AdmissionTest, ReceivesThatAreHeldForLongWatchAndAreStarted) {
    budget(1);
    EXPECT_FALSE(admission().charge(posted(open_socket(), OperationKind::receive), false));
    Socket& early = open_socket();
    Socket& late = open_socket();
    EXPECT_FALSE(admission().charge(posted(early, OperationKind::receive), true));
    backend.time += 900'000'000;
    EXPECT_FALSE(admission().charge(posted(late, OperationKind::receive), true));
    backend.time += 100'000'000;  // the queue patience of the first held receive ends
    (void)effects();
    admission().lose_patience();
    const std::vector<std::pair<Socket*, Effects>> expected{{&early, effect::start_receiving}};
    EXPECT_EQ(effects(), expected);
    EXPECT_TRUE(early.receiving.head->readiness_only);
    EXPECT_TRUE(late.receiving.head->held);
}

TEST_F(AdmissionTest, AHeldSendGetsThePagesOfAPendingReceive) {
    budget(1);
    Socket& reader = open_socket();
    Operation& pending = posted(reader, OperationKind::receive);
    EXPECT_FALSE(admission().charge(pending, false));
    EXPECT_EQ(parts().calls.start(pending, 1).start, Start::pending);
    reader.receiving.started = 1;
    EXPECT_FALSE(admission().charge(posted(open_socket(), OperationKind::send), true));
    backend.time += 1'000'000'000;
    const std::int64_t due = admission().lose_patience();
    EXPECT_EQ(admission().admit_next(), nullptr);
    admission().reclaim_late(due);
    EXPECT_TRUE(pending.yields);
    ASSERT_NE(backend.request_of(pending.id), nullptr);
    EXPECT_EQ(backend.request_of(pending.id)->cancels, 1U);
    admission().yield(pending);
    EXPECT_TRUE(pending.readiness_only);
    EXPECT_NE(admission().admit_next(), nullptr);
    backend.deliver(pending.id, -code_cancelled);
}

TEST_F(AdmissionTest, TheStarvedAreStartedAgainOnceSomethingHasEnded) {
    budget(4);
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::receive);
    EXPECT_FALSE(admission().waits_for_resources(code_exhausted, 0))
        << "no other operation will free some";
    EXPECT_FALSE(admission().waits_for_resources(code_plain, 2));
    EXPECT_TRUE(admission().waits_for_resources(code_exhausted, 2));
    ASSERT_TRUE(admission().starve(op));
    EXPECT_TRUE(op.paused);
    EXPECT_FALSE(admission().feeds());
    Operation& other = operation(open_socket(), OperationKind::receive);
    EXPECT_FALSE(admission().charge(other, true));
    admission().end(other);
    EXPECT_TRUE(admission().feeds());
    (void)effects();
    admission().feed_starved();
    EXPECT_FALSE(op.paused);
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::start_receiving}};
    EXPECT_EQ(effects(), expected);
    EXPECT_FALSE(admission().feeds());
}

TEST_F(AdmissionTest, ABudgetIsTightFromItsPercentageOn) {
    budget(100);
    EXPECT_FALSE(admission().charge(operation(open_socket(), OperationKind::receive, 74), false));
    EXPECT_FALSE(admission().tight());
    EXPECT_FALSE(admission().charge(operation(open_socket(), OperationKind::receive, 1), false));
    EXPECT_TRUE(admission().tight());
}

}  // namespace
}  // namespace iocp::scripted
