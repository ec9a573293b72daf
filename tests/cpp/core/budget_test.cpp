// The budget of locked memory and the caps on unfinished operations (R07).
#include "base/process.hpp"
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

PortOptions budget(std::size_t pages, OverBudget policy) {
    PortOptions options;
    options.budget_bytes = pages * system_page_size();
    options.over_budget = policy;
    return options;
}

class BudgetTest : public CoreTest {
protected:
    void expect_refused(const Posted& op) {
        EXPECT_FALSE(op.accepted);
        EXPECT_EQ(op.refusal.fault, Fault::budget);
        EXPECT_NE(op.refusal.text, nullptr);
    }
};

TEST_F(BudgetTest, OverTheBudgetAPostRaisesAndNeverReachesTheKernel) {
    make(budget(2, OverBudget::raise));
    Socket& socket = open_socket();
    Socket& other = open_socket();
    const Posted& a = receive(socket, {.length = 2 * page()});
    EXPECT_TRUE(a.accepted);
    expect_refused(receive(other));
    EXPECT_EQ(backend().count("start:receive"), 1U);
    EXPECT_EQ(port().figures().counts().refusals, 1U);
    backend().deliver(a.id, 1);
    turn();
    EXPECT_TRUE(receive(other).accepted) << "after a completion it can be posted again";
}

TEST_F(BudgetTest, WhatIsDoneAtOnceNeedsNoBudget) {
    make(budget(1, OverBudget::raise));
    receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(4096), done(1)};
    EXPECT_EQ(send(socket).outcome, Outcome::done);
    EXPECT_EQ(receive(socket).outcome, Outcome::done);
    EXPECT_EQ(charged(), page());
}

TEST_F(BudgetTest, ZeroByteReceivesNeedNoBudget) {
    make(budget(1, OverBudget::raise));
    receive(open_socket());
    EXPECT_TRUE(post(open_socket(), OperationKind::zero_byte).accepted);
}

TEST_F(BudgetTest, APostLargerThanTheWholeBudgetRaisesWhateverThePolicy) {
    for (const OverBudget policy : {OverBudget::raise, OverBudget::queue, OverBudget::degrade}) {
        make(budget(2, policy));
        Socket& socket = open_socket();
        expect_refused(receive(socket, {.length = 3 * page()}));
        expect_refused(send(socket, {.length = 2 * page(), .offset = 1}));
        EXPECT_THAT(calls(socket), IsEmpty()) << "no byte goes before the refusal";
        receive(open_socket());
        expect_refused(receive(socket, {.length = 3 * page()}));
        EXPECT_TRUE(receive(socket, {.length = page()}).accepted);
    }
}

TEST_F(BudgetTest, QueuedPostsWaitInOrderUncharged) {
    make(budget(2, OverBudget::queue));
    const Posted& a = receive(open_socket(), {.length = 2 * page()});
    const Posted& b = receive(open_socket(), {.length = 2 * page()});
    const Posted& c = receive(open_socket(), {.length = page()});
    EXPECT_EQ(b.outcome, Outcome::queued);
    EXPECT_EQ(c.outcome, Outcome::queued);
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_EQ(backend().held().size(), 1U);
    backend().deliver(a.id, 1);
    turns(2);
    EXPECT_NE(backend().request_of(b.id), nullptr) << "first come, first served";
    EXPECT_EQ(backend().request_of(c.id), nullptr);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver(b.id, 1);
    turns(2);
    EXPECT_NE(backend().request_of(c.id), nullptr);
    EXPECT_EQ(charged(), page());
    backend().deliver(c.id, 1);
    turn();
    EXPECT_TRUE(a.succeeded() && b.succeeded() && c.succeeded());
}

TEST_F(BudgetTest, ALaterPostThatWouldFitDoesNotOvertakeTheQueue) {
    make(budget(2, OverBudget::queue));
    receive(open_socket(), {.length = page()});
    const Posted& large = receive(open_socket(), {.length = 2 * page()});
    const Posted& small = receive(open_socket(), {.length = page()});
    EXPECT_EQ(large.outcome, Outcome::queued);
    EXPECT_EQ(small.outcome, Outcome::queued);
    EXPECT_EQ(charged(), page());
}

TEST_F(BudgetTest, WhatNeedsNoMemoryDoesNotWaitBehindTheQueue) {
    auto options = budget(2, OverBudget::queue);
    for (const std::uint32_t cap : {0U, 100U}) {
        options.caps.port_receives = cap;
        make(options);
        send(open_socket(), {.length = 2 * page()});
        EXPECT_EQ(send(open_socket(), {.length = page()}).outcome, Outcome::queued);
        const Posted& reach = post(open_socket(), OperationKind::connect);
        EXPECT_NE(backend().request_of(reach.id), nullptr);
        const Posted& look = post(open_socket(), OperationKind::zero_byte);
        EXPECT_EQ(backend().request_of(look.id) == nullptr, cap != 0)
            << "what a cap counts takes its place in the queue";
    }
}

TEST_F(BudgetTest, ARefusalWithNothingOutstandingAlwaysRaises) {
    auto options = budget(4, OverBudget::queue);
    make(options);
    Socket& socket = open_socket();
    expect_refused(receive(socket, {.length = 5 * page()}));
    EXPECT_EQ(port().operations().outstanding(), 0U);
}

TEST_F(BudgetTest, AHeldPostThatIsCancelledNeverReachesTheKernel) {
    make(budget(1, OverBudget::queue));
    const Posted& a = receive(open_socket());
    Posted& b = receive(open_socket());
    const Posted& c = receive(open_socket());
    EXPECT_TRUE(cancel(b));
    turn();
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    backend().deliver(a.id, 1);
    turns(2);
    EXPECT_NE(backend().request_of(c.id), nullptr);
    EXPECT_EQ(backend().started.size(), 2U);
}

TEST_F(BudgetTest, AHeldPostThatTimesOutNeverReachesTheKernel) {
    make(budget(1, OverBudget::queue));
    receive(open_socket());
    const Posted& b = receive(open_socket(), {.timeout = 1000});
    turn_until(backend().time + 2000);
    turn();
    EXPECT_EQ(b.error.fault, Fault::timed_out);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(BudgetTest, AHeldPostOfASocketThatClosesIsCompleted) {
    make(budget(1, OverBudget::queue));
    receive(open_socket());
    Socket& socket = open_socket();
    const Posted& b = receive(socket);
    close(socket);
    turn();
    EXPECT_TRUE(b.completed());
    EXPECT_TRUE(b.error);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(BudgetTest, WhatIsQueuedBehindItsDirectionIsChargedToo) {
    make(budget(2, OverBudget::raise));
    Socket& socket = open_socket();
    receive(socket);
    EXPECT_TRUE(receive(socket).accepted);
    expect_refused(receive(socket));
}

TEST_F(BudgetTest, TheRestOfASendThatWentInPartWaitsInsteadOfRaising) {
    make(budget(2, OverBudget::raise));
    const Posted& r = receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(100)};
    const Posted& s = send(socket, {.length = 2 * page()});
    EXPECT_TRUE(s.accepted) << "bytes of it are gone: it cannot be refused any more";
    EXPECT_EQ(s.outcome, Outcome::queued);
    EXPECT_EQ(charged(), page());
    backend().deliver(r.id, 1);
    turns(2);
    const Request* request = backend().request_of(s.id);
    ASSERT_NE(request, nullptr);
    EXPECT_EQ(request->bytes, (2 * page()) - 100);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver(s.id, static_cast<std::int64_t>(request->bytes));
    turn();
    EXPECT_EQ(s.transferred, 2 * page());
}

TEST_F(BudgetTest, ASendBehindAHeldOneNeverTakesTheBudgetItWaitsFor) {
    make(budget(2, OverBudget::raise));
    const Posted& r = receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(100)};
    const Posted& head = send(socket, {.length = 2 * page()});
    ASSERT_EQ(head.outcome, Outcome::queued);
    const Posted& behind = send(socket, {.length = 10});  // either refused or queued behind `head`
    backend().deliver(r.id, 1);
    turns(2);
    const Request* request = backend().request_of(head.id);
    ASSERT_NE(request, nullptr) << "the head of the lane is served";
    backend().deliver(head.id, static_cast<std::int64_t>(request->bytes));
    turns(2);
    EXPECT_TRUE(head.succeeded());
    if (behind.accepted) {
        ASSERT_NE(backend().request_of(behind.id), nullptr);
        backend().deliver(behind.id, 10);
        turn();
        EXPECT_TRUE(behind.succeeded());
    }
}

TEST_F(BudgetTest, ASendBehindAHeldOneNeverTakesTheCapItWaitsFor) {
    PortOptions options;
    options.caps.port_sends = 1;
    make(options);
    const Posted& first = send(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(100)};
    const Posted& head = send(socket, {.length = 200});
    ASSERT_TRUE(head.accepted);
    backend().deliver(first.id, 4096);
    turn();
    ASSERT_TRUE(first.succeeded());
    send(socket, {.length = 10});
    turns(2);
    EXPECT_NE(backend().request_of(head.id), nullptr) << "the head of the lane is served";
}

TEST_F(BudgetTest, ADegradedReceiveWaitsWithoutMemoryAndThenReads) {
    make(budget(1, OverBudget::degrade));
    receive(open_socket());
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    EXPECT_TRUE(op.accepted);
    EXPECT_EQ(charged(), page());
    EXPECT_THAT(calls(socket), ElementsAre("attempt:receive", "start:receive?"));
    backend().on(socket).starts = {done(77)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 77U);
    EXPECT_EQ(view().peak, page());
}

TEST_F(BudgetTest, ADegradedReceiveThatWasWokenForNothingHoldsNoUnchargedMemory) {
    make(budget(1, OverBudget::degrade));
    receive(open_socket());
    const Posted& op = receive(open_socket());
    backend().deliver_ready(op.id);
    turn();
    ASSERT_EQ(op.completions, 0);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only || charged() == 2 * page())
        << "the kernel holds a buffer that nobody was charged for";
}

TEST_F(BudgetTest, OnlyReceivesDegrade) {
    make(budget(1, OverBudget::degrade));
    receive(open_socket());
    expect_refused(send(open_socket()));
}

TEST_F(BudgetTest, ACapDoesNotDegrade) {
    PortOptions options = budget(100, OverBudget::degrade);
    options.caps.port_receives = 1;
    make(options);
    receive(open_socket());
    expect_refused(receive(open_socket()));
}

TEST_F(BudgetTest, RegisteredMemoryIsNotTheOperationsBudget) {
    make(budget(4, OverBudget::raise));
    EXPECT_EQ(view().budget, 4 * page());
    EXPECT_EQ(view().registered, 0U);
    EXPECT_EQ(view().internal, 0U);
}

TEST_F(BudgetTest, TheKernelsShareIsWhatTheBackendSays) {
    Socket& socket = open_socket();
    receive(socket, {.length = 2 * page()});
    EXPECT_EQ(view().kernel_locked, 0U);
    backend().locked_pages = 2;
    EXPECT_EQ(view().kernel_locked, 2 * page());
    EXPECT_EQ(view().now, 2 * page());
}

class CapTest : public BudgetTest {};

TEST_F(CapTest, ThePortsReceives) {
    PortOptions options;
    options.caps.port_receives = 2;
    make(options);
    const Posted& a = receive(open_socket());
    receive(open_socket());
    Socket& socket = open_socket();
    expect_refused(receive(socket));
    EXPECT_TRUE(send(socket).accepted) << "sends have a cap of their own";
    backend().deliver(a.id, 1);
    turn();
    EXPECT_TRUE(receive(socket).accepted);
}

TEST_F(CapTest, ThePortsSends) {
    PortOptions options;
    options.caps.port_sends = 1;
    make(options);
    const Posted& a = send(open_socket());
    expect_refused(send(open_socket()));
    EXPECT_TRUE(receive(open_socket()).accepted);
    backend().deliver(a.id, -code_plain);
    turn();
    EXPECT_TRUE(send(open_socket()).accepted) << "a failed send is a finished one";
}

TEST_F(CapTest, OneSocketsReceives) {
    PortOptions options;
    options.caps.socket_receives = 2;
    make(options);
    Socket& socket = open_socket();
    Posted& a = receive(socket);
    receive(socket);
    expect_refused(receive(socket));
    EXPECT_TRUE(receive(open_socket()).accepted);
    EXPECT_TRUE(cancel(a));
    turn();
    EXPECT_TRUE(receive(socket).accepted);
}

TEST_F(CapTest, OneSocketsSends) {
    PortOptions options;
    options.caps.socket_sends = 2;
    make(options);
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 1});
    const Posted& b = send(socket, {.length = 1});
    expect_refused(send(socket, {.length = 1}));
    backend().deliver(a.id, 1);
    turn();
    backend().deliver(b.id, 1);
    turn();
    EXPECT_TRUE(send(socket, {.length = 1}).accepted);
}

TEST_F(CapTest, QueuesWhenAskedTo) {
    PortOptions options;
    options.caps.port_receives = 1;
    options.over_budget = OverBudget::queue;
    make(options);
    const Posted& a = receive(open_socket());
    const Posted& b = receive(open_socket());
    EXPECT_EQ(b.outcome, Outcome::queued);
    EXPECT_EQ(backend().held().size(), 1U);
    backend().deliver(a.id, 1);
    turns(2);
    EXPECT_NE(backend().request_of(b.id), nullptr);
}

TEST_F(CapTest, ADirectSubscriptionCountsOnce) {
    PortOptions options;
    options.caps.port_receives = 1;
    make(options);
    for (int i = 0; i < 5; ++i) {
        Socket& socket = open_socket();
        Posted& op =
            post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
        ASSERT_TRUE(op.accepted) << "after " << i << " that are gone";
        const Request* request = backend().request_of(op.id);
        ASSERT_NE(request, nullptr);
        EXPECT_FALSE(request->readiness_only)
            << "the subscription itself does not count against it";
        EXPECT_EQ(charged(), page());
        backend().deliver(op.id, 10);
        turn();
        EXPECT_EQ(charged(), page()) << "armed again";
        cancel(op);
        turns(2);
        EXPECT_TRUE(op.completed());
    }
    EXPECT_TRUE(receive(open_socket()).accepted);
}

TEST_F(CapTest, ADirectSubscriptionCountsOnceOnItsSocket) {
    PortOptions options;
    options.caps.socket_receives = 1;
    make(options);
    const Posted& op =
        post(open_socket(), OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->readiness_only);
    EXPECT_EQ(charged(), page());
}

}  // namespace
}  // namespace iocp::scripted
