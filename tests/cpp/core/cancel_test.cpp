// A cancel is only a request: the operation keeps its buffer and its charge until its packet is
// taken (R31). A timeout is a cancel.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CancelTest : public CoreTest {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        backend().answers_cancels = false;
    }
    // Expects that the send has a request of its own, now that its companion in the request was
    // cancelled. Then completes the send.
    void goes_alone(const Posted& op) {
        const Request* request = backend().request_of(op.id);
        ASSERT_NE(request, nullptr);
        EXPECT_EQ(request->count, 1U);
        backend().deliver(op.id, 10);
        turn();
        EXPECT_TRUE(op.succeeded());
    }
};

TEST_F(CancelTest, RefundsNothingUntilThePacketIsTaken) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    EXPECT_TRUE(cancel(op));
    EXPECT_EQ(op.state(), State::cancelling);
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(view().cancelling, page());
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(op.leases_given_back, 0) << "the kernel may still write to it";
    EXPECT_FALSE(cancel(op)) << "it was asked for already";
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.transferred, 0U);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(CancelTest, ThatLostTheRaceReportsSuccess) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    cancel(op);
    backend().deliver(op.id, 55);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 55U);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 1);
}

TEST_F(CancelTest, ThatLostTheRaceToAnErrorReportsTheError) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    cancel(op);
    backend().deliver(op.id, -code_plain);
    turn();
    EXPECT_EQ(op.error.code, code_plain);
}

TEST_F(CancelTest, AfterTheKernelFinishedButBeforeTheCoreLookedIsTooLate) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    backend().deliver(op.id, 9);
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 9U);
}

TEST_F(CancelTest, OfAFinishedOperationIsRefused) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(1)};
    Posted& op = receive(socket);
    EXPECT_FALSE(cancel(op));
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(CancelTest, OfAQueuedOperationIsDoneAtOnce) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    Posted& b = receive(socket);
    const Posted& c = receive(socket);
    EXPECT_TRUE(cancel(b));
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_EQ(backend().count("cancel:receive"), 0U);
    turn();
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    backend().deliver(a.id, 1);
    turn();
    EXPECT_NE(backend().request_of(c.id), nullptr);
}

TEST_F(CancelTest, OfTheLastQueuedOperationLeavesAWorkingLane) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    Posted& b = receive(socket);
    cancel(b);
    const Posted& c = receive(socket);
    backend().deliver(a.id, 1);
    turn();
    backend().deliver(c.id, 1);
    turn();
    EXPECT_TRUE(a.succeeded() && c.succeeded());
}

TEST_F(CancelTest, LetsTheNextOfItsDirectionFollow) {
    Socket& socket = open_socket();
    Posted& a = receive(socket);
    const Posted& b = receive(socket);
    cancel(a);
    EXPECT_EQ(backend().request_of(b.id), nullptr) << "the kernel still holds the first";
    backend().deliver(a.id, -code_cancelled);
    turn();
    EXPECT_NE(backend().request_of(b.id), nullptr);
    EXPECT_EQ(b.completions, 0);
}

TEST_F(CancelTest, ThatNobodyAskedForOnlyStartsItAgain) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket);
    for (int i = 0; i < 3; ++i) {
        backend().deliver(r.id, -code_cancelled);
        backend().deliver(s.id, -code_cancelled);
        turn();
        EXPECT_EQ(r.completions + s.completions, 0);
        EXPECT_EQ(backend().held().size(), 2U);
        EXPECT_EQ(charged(), 2 * page());
    }
}

TEST_F(CancelTest, OfOneOfSeveralJoinedSendsLeavesTheOthers) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    Posted& b = send(socket, {.length = 10, .batched = true});
    const Posted& c = send(socket, {.length = 10, .batched = true});
    turn();
    ASSERT_EQ(backend().held().size(), 1U);
    EXPECT_TRUE(cancel(b));
    EXPECT_EQ(b.state(), State::cancelling);
    EXPECT_EQ(backend().count("cancel:send"), 1U);
    backend().deliver(a.id, -code_cancelled);
    turn();
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    EXPECT_EQ(a.completions + c.completions, 0);
    const Request* request = backend().request_of(a.id);
    ASSERT_NE(request, nullptr);
    EXPECT_EQ(request->count, 2U);
    EXPECT_EQ(request->bytes, 20U);
    backend().deliver(a.id, 20);
    turn();
    EXPECT_TRUE(a.succeeded() && c.succeeded());
}

TEST_F(CancelTest, OfAJoinedSendThatTheSystemHasNoMemoryForIsNotLost) {
    PortOptions options;
    options.over_budget = OverBudget::queue;
    make(options);
    receive(open_socket());  // its end may free the resource that the send lacks
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    Posted& b = send(socket, {.length = 10, .batched = true});
    turn();
    EXPECT_TRUE(cancel(b));
    backend().deliver(a.id, -code_exhausted);
    turn();
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    EXPECT_EQ(a.completions, 0);
    backend().time += 1'000'000'000;
    turns(2);
    goes_alone(a);
}

TEST_F(CancelTest, OfAJoinedSendWhoseBytesWentReportsSuccess) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    Posted& b = send(socket, {.length = 10, .batched = true});
    const Posted& c = send(socket, {.length = 10, .batched = true});
    turn();
    cancel(b);
    backend().deliver(a.id, 20);
    turn();
    EXPECT_TRUE(a.succeeded() && b.succeeded());
    EXPECT_EQ(b.transferred, 10U);
    backend().deliver(c.id, 10);
    turn();
    EXPECT_TRUE(c.succeeded());
}

TEST_F(CancelTest, OfAJoinedSendThatWentInPartKeepsTheCountAndRefusesTheRest) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    Posted& b = send(socket, {.length = 10, .batched = true});
    const Posted& c = send(socket, {.length = 10, .batched = true});
    turn();
    cancel(b);
    backend().deliver(a.id, 14);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    EXPECT_EQ(b.transferred, 4U);
    EXPECT_TRUE(c.completed());
    EXPECT_TRUE(c.error);
    EXPECT_EQ(c.transferred, 0U);
    EXPECT_TRUE(backend().held().empty());
    EXPECT_FALSE(send(socket).accepted);
}

TEST_F(CancelTest, OfAPartlySentHeadKeepsTheCountAndRefusesTheRest) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 100});
    const Posted& b = send(socket, {.length = 100});
    cancel(a);
    backend().deliver(a.id, 30);
    turn();
    EXPECT_EQ(a.error.fault, Fault::cancelled);
    EXPECT_EQ(a.transferred, 30U);
    EXPECT_TRUE(b.completed());
    EXPECT_TRUE(b.error);
}

TEST_F(CancelTest, OfAHeadThatWasNotTouchedLetsTheOthersGo) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 100});
    const Posted& b = send(socket, {.length = 100});
    cancel(a);
    backend().deliver(a.id, -code_cancelled);
    turn();
    EXPECT_EQ(a.error.fault, Fault::cancelled);
    backend().deliver(b.id, 100);
    turn();
    EXPECT_TRUE(b.succeeded());
    EXPECT_TRUE(send(socket).accepted);
}

TEST_F(CancelTest, OfAllEndsEveryOperationOfTheSocketAndOfNoOther) {
    Socket& socket = open_socket();
    const Posted& other = receive(open_socket());
    std::vector<Posted*> all;
    for (int i = 0; i < 3; ++i) {
        all.push_back(&receive(socket));
        all.push_back(&send(socket));
    }
    EXPECT_EQ(locked([&] { return port().operations().cancel_all(socket); }), 6U);
    EXPECT_EQ(locked([&] { return port().operations().cancel_all(socket); }), 0U);
    backend().answer_cancels();
    turn();
    for (const Posted* op : all) {
        EXPECT_EQ(op->error.fault, Fault::cancelled);
    }
    EXPECT_EQ(backend().started.size(), 3U) << "nothing is started only to be cancelled";
    EXPECT_EQ(other.completions, 0);
    EXPECT_TRUE(receive(socket).accepted) << "the socket goes on";
}

TEST_F(CancelTest, OfAllUnflushedSendsStartsNone) {
    Socket& socket = open_socket();
    for (int i = 0; i < 3; ++i) {
        send(socket, {.batched = true});
    }
    EXPECT_EQ(locked([&] { return port().operations().cancel_all(socket); }), 3U);
    turn();
    EXPECT_THAT(backend().started, IsEmpty());
    EXPECT_EQ(charged(), 0U);
}

TEST_F(CancelTest, OfOneUnflushedSendDoesNotSendTheOthersEarly) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.batched = true});
    Posted& b = send(socket, {.batched = true});
    cancel(b);
    EXPECT_THAT(backend().started, IsEmpty());
    send(socket, {.batched = true});
    turn();
    EXPECT_EQ(backend().started.size(), 1U);
    EXPECT_EQ(backend().started[0].count, 2U);
    EXPECT_EQ(backend().started[0].operation.packed(), a.id.packed());
}

TEST_F(CancelTest, ThatMeetsAReadyPacketIsNotLost) {
    for (const OperationKind kind :
         {OperationKind::accept, OperationKind::connect, OperationKind::receive}) {
        Socket& socket = open_socket();
        Posted& op = post(socket, kind);
        ASSERT_NE(backend().request_of(op.id), nullptr);
        cancel(op);
        backend().deliver_ready(op.id);
        turn();
        if (op.completions == 0) {
            const Request* request = backend().request_of(op.id);
            ASSERT_NE(request, nullptr);
            EXPECT_NE(request->cancels, 0U)
                << "started again, and nothing will ever cancel it: kind "
                << static_cast<int>(kind);
            backend().deliver(op.id, -code_cancelled);
            turn();
        }
        EXPECT_TRUE(op.completed());
    }
}

TEST_F(CancelTest, OfAJoinedSendThatMeetsAReadyPacketIsNotLost) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    Posted& b = send(socket, {.length = 10, .batched = true});
    turn();
    ASSERT_EQ(backend().held().size(), 1U);
    cancel(b);
    backend().deliver_ready(a.id);
    turn();
    EXPECT_EQ(b.error.fault, Fault::cancelled);
    goes_alone(a);
}

TEST_F(CancelTest, OfAZeroByteReceiveThatMeetsItsReadinessSucceeds) {
    Socket& socket = open_socket();
    Posted& op = post(socket, OperationKind::zero_byte);
    cancel(op);
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
}

class TimeoutTest : public CoreTest {};

TEST_F(TimeoutTest, CancelsAndSaysSo) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket, {.timeout = 1000});
    turn_until(backend().time + 999);
    turn();
    EXPECT_EQ(op.completions, 0);
    turn_until(backend().time + 1000);
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(TimeoutTest, BoundsTheWait) {
    Socket& socket = open_socket();
    receive(socket, {.timeout = 500});
    turn_until(-1);
    EXPECT_EQ(backend().waits.back(), 500);
}

TEST_F(TimeoutTest, ThatLostTheRaceReportsSuccess) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op = receive(socket, {.timeout = 0});
    turn();
    EXPECT_EQ(op.state(), State::cancelling);
    backend().deliver(op.id, 12);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(TimeoutTest, IsForgottenWhenTheOperationFinishes) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket, {.timeout = 1000});
    backend().deliver(op.id, 1);
    turn();
    const Posted& next = receive(socket);
    ASSERT_EQ(next.id.slot, op.id.slot);
    backend().time += 5000;
    turns(2);
    EXPECT_EQ(next.completions, 0);
}

TEST_F(TimeoutTest, OfAQueuedOperationIsItsOwn) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    const Posted& b = receive(socket, {.timeout = 10});
    backend().time += 20;
    turns(2);
    EXPECT_EQ(b.error.fault, Fault::timed_out);
    EXPECT_EQ(a.completions, 0);
}

TEST_F(TimeoutTest, NeverEndsInThePastOrWraps) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket, {.timeout = INT64_MAX});
    turn_until(backend().time + 1'000'000'000'000);
    EXPECT_EQ(op.completions, 0);
}

TEST_F(TimeoutTest, OfAPartlySentSendKeepsTheCount) {
    Socket& socket = open_socket();
    const Posted& op = send(socket, {.length = 100, .timeout = 10});
    backend().deliver(op.id, 40);
    turn();
    backend().time += 20;
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    EXPECT_EQ(op.transferred, 40U);
}

TEST_F(TimeoutTest, ADoneOperationHasNone) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(1)};
    receive(socket, {.timeout = 10});
    turn();
    EXPECT_TRUE(locked([&] { return port().quiet(); }));
}

}  // namespace
}  // namespace iocp::scripted
