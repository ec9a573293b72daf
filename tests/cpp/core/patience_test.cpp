// Queue patience: no operation waits for ever for memory that idle receives hold (R07).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class PatienceTest : public CoreTest {
protected:
    static constexpr std::int64_t patience = 1'000'000'000;

    void SetUp() override {
        PortOptions options;
        options.over_budget = OverBudget::queue;
        options.budget_bytes = 2 * page();
        options.queue_patience = patience;
        make(options);
    }
    void wait_out() {
        backend().time += patience;
        turns(4);
    }
};

TEST_F(PatienceTest, AReceiveThatWaitsTooLongWaitsWithoutItsBuffer) {
    receive(open_socket());
    receive(open_socket());
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    backend().time += patience / 2;
    turns(2);
    EXPECT_EQ(backend().request_of(op.id), nullptr) << "it may still get its memory";
    wait_out();
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only);
    EXPECT_EQ(charged(), 2 * page());
    backend().on(socket).attempts = {done(10)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PatienceTest, BehindIdleReceivesASendGetsTheirMemory) {
    const Posted& first = receive(open_socket());
    const Posted& second = receive(open_socket());
    const Posted& op = send(open_socket(), {.length = page()});
    EXPECT_EQ(backend().request_of(op.id), nullptr);
    wait_out();
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_NE(backend().request_of(first.id)->readiness_only,
              backend().request_of(second.id)->readiness_only)
        << "no more is taken back than is asked for";
    EXPECT_EQ(first.completions + second.completions, 0);
}

TEST_F(PatienceTest, AReceiveBehindAnotherGivesItsMemoryToASend) {
    Socket& socket = open_socket();
    const Posted& first = receive(socket);
    const Posted& second = receive(socket);
    const Posted& op = send(open_socket(), {.length = 2 * page()});
    wait_out();
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_TRUE(backend().request_of(first.id)->readiness_only);
    backend().on(socket).attempts = {done(10), done(20)};
    backend().deliver_ready(first.id);
    turns(2);
    EXPECT_EQ(first.transferred, 10U);
    EXPECT_EQ(second.transferred, 20U) << "it was tried, and had no need to wait";
}

TEST_F(PatienceTest, ASubscriptionThatGaveItsBufferBackGoesOnReceiving) {
    Socket& socket = open_socket();
    const Posted& stream = post(socket, OperationKind::receive_each,
                                {.strategy = ReceiveStrategy::direct, .block_size = 8192});
    const Posted& op = send(open_socket(), {.length = page()});
    wait_out();
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_TRUE(backend().request_of(stream.id)->readiness_only);
    backend().on(socket).reads = {done(10)};
    backend().deliver_ready(stream.id);
    turn();
    EXPECT_EQ(stream.data.size(), 1U);
}

TEST_F(PatienceTest, AReceiveThatWasAskedToYieldAndHasReceivedCompletes) {
    backend().answers_cancels = false;
    const Posted& first = receive(open_socket(), {.length = 2 * page()});
    send(open_socket(), {.length = page()});
    wait_out();
    backend().deliver(first.id, 10);
    turns(2);
    EXPECT_TRUE(first.succeeded());
    EXPECT_EQ(first.transferred, 10U);
}

TEST_F(PatienceTest, AReceiveThatFillsAndWasAskedToYieldGoesOnWithoutItsBuffer) {
    backend().answers_cancels = false;
    const Posted& first = receive(open_socket(), {.length = 2 * page(), .flags = flag_fill});
    const Posted& op = send(open_socket(), {.length = page()});
    wait_out();
    backend().deliver(first.id, 10);
    turns(2);
    const Request* request = backend().request_of(first.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(PatienceTest, WhatACapHoldsBackKeepsWaiting) {
    PortOptions options;
    options.over_budget = OverBudget::queue;
    options.caps.port_receives = 1;
    options.queue_patience = patience;
    make(options);
    receive(open_socket());
    const Posted& op = receive(open_socket());
    wait_out();
    EXPECT_EQ(backend().request_of(op.id), nullptr) << "a readiness wait would pass the cap";
}

}  // namespace
}  // namespace iocp::scripted
