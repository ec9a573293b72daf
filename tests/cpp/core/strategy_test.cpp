// Receive strategies that change while the subscription runs, and the rule of the strategy
// adaptive.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class StrategyTest : public CoreTest {
protected:
    static constexpr std::int64_t millisecond = 1'000'000;

    void make_adaptive(std::size_t budget_pages = 0) {
        PortOptions options;
        options.budget_bytes = budget_pages * page();
        options.adaptive = {.messages = 3,
                            .window = 10 * millisecond,
                            .idle = 100 * millisecond,
                            .budget_percent = 50,
                            .busy = ReceiveStrategy::direct};
        make(options);
    }
    Posted& adaptive(Socket& socket) {
        Posted& op =
            post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
        locked([&] { (void)port().sockets().set_receive_strategy(socket, std::nullopt); });
        return op;
    }
    // Delivers one message to a subscription of any strategy.
    void message(Posted& op) {
        const Request* request = backend().request_of(op.id);
        ASSERT_NE(request, nullptr);
        if (request->readiness_only) {
            backend().on(*op.socket).reads = {done(10)};
            backend().deliver_ready(op.id);
        } else {
            backend().deliver(op.id, 10);
        }
        turn();
    }
    bool watches(const Posted& op) {
        const Request* request = backend().request_of(op.id);
        EXPECT_NE(request, nullptr);
        return request != nullptr && request->readiness_only;
    }
};

TEST_F(StrategyTest, ADirectOneMadeZeroByteGivesItsBufferBack) {
    Socket& socket = open_socket();
    Posted& op = post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    EXPECT_EQ(charged(), page());
    locked(
        [&] { (void)port().sockets().set_receive_strategy(socket, ReceiveStrategy::zero_byte); });
    EXPECT_EQ(charged(), page()) << "the kernel holds it until its packet is taken";
    turns(2);
    EXPECT_EQ(charged(), 0U);
    EXPECT_TRUE(watches(op));
    message(op);
    EXPECT_EQ(op.data.size(), 1U);
}

TEST_F(StrategyTest, WhatArrivedBeforeTheSwitchIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    locked(
        [&] { (void)port().sockets().set_receive_strategy(socket, ReceiveStrategy::zero_byte); });
    backend().deliver(op.id, 10);
    turns(2);
    EXPECT_EQ(op.data.size(), 1U);
    EXPECT_TRUE(watches(op));
    EXPECT_EQ(charged(), 0U);
}

TEST_F(StrategyTest, AReadinessThatComesBeforeTheAnswerDoesNotKeepTheBuffer) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    locked(
        [&] { (void)port().sockets().set_receive_strategy(socket, ReceiveStrategy::zero_byte); });
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(watches(op));
    EXPECT_EQ(charged(), 0U);
}

TEST_F(StrategyTest, AZeroByteOneMadeDirectPostsABuffer) {
    Socket& socket = open_socket();
    Posted& op =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    EXPECT_TRUE(watches(op));
    locked([&] { (void)port().sockets().set_receive_strategy(socket, ReceiveStrategy::direct); });
    turns(2);
    EXPECT_FALSE(watches(op));
    EXPECT_EQ(charged(), page());
    message(op);
    EXPECT_EQ(op.data.size(), 1U);
}

TEST_F(StrategyTest, WithoutASubscriptionThereIsNothingToSwitch) {
    Socket& socket = open_socket();
    const auto set = [&] {
        return port().sockets().set_receive_strategy(socket, ReceiveStrategy::direct);
    };
    EXPECT_EQ(locked(set).fault, Fault::argument);
    receive(socket);
    EXPECT_EQ(locked(set).fault, Fault::argument);
}

TEST_F(StrategyTest, AnAdaptiveOneIsBusyAfterMessagesThatCameCloseTogether) {
    make_adaptive();
    Socket& socket = open_socket();
    Posted& op = adaptive(socket);
    for (int i = 0; i < 5; ++i) {
        backend().time += 20 * millisecond;
        message(op);
    }
    EXPECT_TRUE(watches(op)) << "they were too far apart";
    for (int i = 0; i < 3; ++i) {
        backend().time += 5 * millisecond;
        message(op);
    }
    EXPECT_FALSE(watches(op));
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(locked([&] { return port().figures().counts().switches; }), 1U);
}

TEST_F(StrategyTest, AnAdaptiveOneThatFallsSilentHoldsNothing) {
    make_adaptive();
    Socket& socket = open_socket();
    Posted& op = adaptive(socket);
    for (int i = 0; i < 4; ++i) {
        message(op);
    }
    ASSERT_EQ(charged(), page());
    backend().time += 60 * millisecond;
    turns(2);
    EXPECT_EQ(charged(), page()) << "not silent for long enough";
    backend().time += 60 * millisecond;
    turns(3);
    EXPECT_EQ(charged(), 0U);
    EXPECT_TRUE(watches(op));
    EXPECT_EQ(locked([&] { return port().figures().counts().switches; }), 2U);
}

TEST_F(StrategyTest, WithATightBudgetNobodyBecomesBusy) {
    make_adaptive(4);
    receive(open_socket());
    receive(open_socket());
    Posted& op = adaptive(open_socket());
    for (int i = 0; i < 6; ++i) {
        message(op);
    }
    EXPECT_TRUE(watches(op));
    EXPECT_EQ(charged(), 2 * page());
}

TEST_F(StrategyTest, WhenTheBudgetGetsTightBusyOnesGoBack) {
    make_adaptive(4);
    Posted& op = adaptive(open_socket());
    for (int i = 0; i < 4; ++i) {
        message(op);
    }
    ASSERT_FALSE(watches(op));
    receive(open_socket());
    receive(open_socket());
    backend().time += 51 * millisecond;
    message(op);
    turns(3);
    EXPECT_TRUE(watches(op));
    EXPECT_EQ(charged(), 2 * page());
}

}  // namespace
}  // namespace iocp::scripted
