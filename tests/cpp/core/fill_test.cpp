// A receive that waits for all (MSG_WAITALL) goes on after every part of its data (R29).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class FillTest : public CoreTest {
protected:
    Posted& fill(Socket& socket, What what = {}) {
        what.flags = flag_fill;
        return receive(socket, what);
    }
    // Posts a wait-for-all receive of 4096 bytes, and delivers the first 100 of them.
    Posted& filled_in_part() {
        Posted& op = fill(open_socket());
        backend().deliver(op.id, 100);
        turn();
        return op;
    }
};

TEST_F(FillTest, APartThatIsThereMakesItPendingForTheRest) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(5000)};
    const Posted& op = fill(socket, {.length = 3 * page()});
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(charged(), 2 * page()) << "the pages still to be filled";
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(backend().request_of(op.id)->bytes, (3 * page()) - 5000);
    backend().deliver(op.id, static_cast<std::int64_t>(3 * page()) - 5000);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 3 * page());
}

TEST_F(FillTest, AllThatIsThereMakesItDone) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(4096)};
    const Posted& op = fill(socket);
    EXPECT_EQ(op.outcome, Outcome::done);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(FillTest, TheEndThatIsThereMakesItDone) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(0)};
    EXPECT_EQ(fill(socket).outcome, Outcome::done);
}

TEST_F(FillTest, EveryPacketWithAPartStartsItAgain) {
    Socket& socket = open_socket();
    const Posted& op = fill(socket);
    const Posted& behind = receive(socket);
    for (const std::int64_t part : {1, 4000, 90}) {
        backend().deliver(op.id, part);
        turn();
        EXPECT_EQ(op.completions, 0);
        EXPECT_EQ(op.state(), State::pending);
    }
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(backend().request_of(op.id)->bytes, 5U);
    EXPECT_EQ(backend().request_of(behind.id), nullptr) << "what is behind it waits";
    backend().deliver(op.id, 5);
    turn();
    EXPECT_EQ(op.transferred, 4096U);
    EXPECT_NE(backend().request_of(behind.id), nullptr);
}

TEST_F(FillTest, PartsThatAreThereWhenItStartsAreTakenAtOnce) {
    Socket& socket = open_socket();
    backend().on(socket).starts = {done(100), done(3996)};
    const Posted& op = fill(socket);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 4096U);
}

TEST_F(FillTest, TheEndOfTheStreamKeepsTheCount) {
    const Posted& op = filled_in_part();
    backend().deliver(op.id, 0);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, AnErrorKeepsTheCount) {
    const Posted& op = filled_in_part();
    backend().deliver(op.id, -code_plain);
    turn();
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, TheEndAfterAnErrorOfTheSocketIsThatError) {
    const Posted& op = filled_in_part();
    Socket& socket = *op.socket;
    const Posted& out = send(socket, {.batched = true});
    backend().answers_cancels = false;
    backend().on(socket).starts = {failed(code_fatal)};
    turn();
    EXPECT_EQ(out.error.code, code_fatal);
    backend().deliver(op.id, 0);
    turn();
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, ACancelKeepsTheCount) {
    Posted& op = filled_in_part();
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, APartThatBeatTheCancelIsCountedAndNotGoneOnFrom) {
    Socket& socket = open_socket();
    Posted& op = fill(socket);
    const Posted& behind = receive(socket);
    backend().answers_cancels = false;
    EXPECT_TRUE(cancel(op));
    backend().deliver(op.id, 100);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.transferred, 100U);
    EXPECT_NE(backend().request_of(behind.id), nullptr);
}

TEST_F(FillTest, TheLastPartThatBeatTheCancelIsSuccess) {
    Socket& socket = open_socket();
    Posted& op = fill(socket);
    backend().answers_cancels = false;
    EXPECT_TRUE(cancel(op));
    backend().deliver(op.id, 4096);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(FillTest, ClosingTheSocketKeepsTheCount) {
    const Posted& op = filled_in_part();
    Socket& socket = *op.socket;
    backend().answers_cancels = false;
    close(socket);
    backend().deliver(op.id, 50);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.transferred, 150U);
}

TEST_F(FillTest, ItsTimeoutKeepsTheCount) {
    Socket& socket = open_socket();
    const Posted& op = fill(socket, {.timeout = 1000});
    backend().deliver(op.id, 100);
    turn();
    turn_until(-1);
    turn();
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, WhatTheBudgetHoldsBackAfterAPartCanBeCancelled) {
    PortOptions options;
    options.budget_bytes = page();
    options.over_budget = OverBudget::degrade;
    make(options);
    const Posted& other = receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(100)};
    Posted& op = fill(socket);
    EXPECT_TRUE(op.accepted) << "bytes that were taken are never followed by a refusal";
    EXPECT_EQ(op.outcome, Outcome::queued);
    const Posted& behind = receive(socket);
    EXPECT_TRUE(cancel(op));
    EXPECT_NE(backend().request_of(behind.id), nullptr) << "what waited behind it goes on";
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(op.transferred, 100U);
    EXPECT_EQ(other.completions, 0);
}

TEST_F(FillTest, ADatagramIsWholeHoweverShort) {
    Socket& socket = open_socket(false);
    backend().on(socket).attempts = {done(100)};
    const Posted& op = fill(socket);
    EXPECT_EQ(op.outcome, Outcome::done);
    turn();
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(FillTest, WithoutTheFlagOnePartIsEnough) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    backend().deliver(op.id, 100);
    turn();
    EXPECT_EQ(op.transferred, 100U);
    EXPECT_TRUE(op.succeeded());
}

}  // namespace
}  // namespace iocp::scripted
