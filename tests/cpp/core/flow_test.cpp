// The limits of a sender: marks, the cap, refusals of the system, and peers that make no progress
// (R08, R16, R17).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class FlowTest : public CoreTest {
protected:
    Socket& marked(SendMarks marks) {
        Socket& socket = open_socket();
        locked([&] { port().sockets().set_marks(socket, marks); });
        return socket;
    }
    // Makes a port with the options, and a listener to which `connections` clients connect. Returns
    // the listener's accept_each.
    const Posted& offered(const PortOptions& options, int connections) {
        make(options);
        Socket& listener = open_socket();
        const Posted& accepts = post(listener, OperationKind::accept_each);
        for (int i = 0; i < connections; ++i) {
            backend().on(listener).starts.push_back(connection(backend().make_handle()));
        }
        backend().deliver_ready(accepts.id);
        turn();
        return accepts;
    }
    std::uint64_t queued(const Socket& socket) {
        return locked([&]() -> std::uint64_t { return socket.sending.bytes; });
    }
};

TEST_F(FlowTest, ASenderIsAskedToPauseOnceAndToGoOnOnce) {
    Socket& socket = marked({.high = 1000, .low = 500});
    const Posted& first = send(socket, {.length = 800});
    turn();
    EXPECT_TRUE(flow.empty()) << "800 bytes are under the high mark";
    const Posted& second = send(socket, {.length = 400});
    send(socket, {.length = 400});
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true)));
    EXPECT_EQ(queued(socket), 1600U);
    backend().deliver(first.id, 800);
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true))) << "800 bytes are over the low mark";
    backend().deliver(second.id, 800);
    turns(2);
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true), Pair(&socket, false)));
    EXPECT_EQ(queued(socket), 0U);
}

TEST_F(FlowTest, PartOfASendCountsAsGone) {
    Socket& socket = marked({.high = 1000, .low = 100});
    const Posted& op = send(socket, {.length = 1001});
    backend().deliver(op.id, 900);
    turn();
    EXPECT_EQ(queued(socket), 101U);
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true)));
    backend().deliver(op.id, 1);
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true), Pair(&socket, false)));
}

TEST_F(FlowTest, ACancelledSendCountsNoMoreAndTheSenderGoesOn) {
    Socket& socket = marked({.high = 1000, .low = 100});
    send(socket, {.length = 50});
    Posted& op = send(socket, {.length = 2000});
    turn();
    ASSERT_EQ(flow.size(), 1U);
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true), Pair(&socket, false)));
    EXPECT_EQ(queued(socket), 50U);
}

TEST_F(FlowTest, MarksThatChangeAreLookedAtAtOnce) {
    Socket& socket = marked({});
    send(socket, {.length = 5000});
    turn();
    EXPECT_TRUE(flow.empty());
    locked([&] { port().sockets().set_marks(socket, {.high = 1000, .low = 500}); });
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true)));
    locked([&] { port().sockets().set_marks(socket, {}); });
    turn();
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true), Pair(&socket, false)));
}

TEST_F(FlowTest, ThePostThatWouldPassTheCapIsRefusedAndNothingOfItGoes) {
    Socket& socket = marked({.cap = 1000});
    send(socket, {.length = 600});
    forget_calls();
    const Posted& over = send(socket, {.length = 401});
    EXPECT_EQ(over.refusal.fault, Fault::budget);
    EXPECT_TRUE(calls(socket).empty());
    EXPECT_TRUE(send(socket, {.length = 400}).accepted);
    EXPECT_EQ(queued(socket), 1000U);
    const Posted& alone = send(marked({.cap = 1000}), {.length = 1001});
    EXPECT_EQ(alone.refusal.fault, Fault::budget);
}

TEST_F(FlowTest, AClosedSocketTellsNobodyToGoOn) {
    Socket& socket = marked({.high = 1000, .low = 100});
    send(socket, {.length = 2000});
    turn();
    close(socket);
    turns(2);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, true)));
}

TEST_F(FlowTest, UnderQueueARefusalOfTheSystemIsTriedAgainAfterACompletion) {
    PortOptions options;
    options.over_budget = OverBudget::queue;
    make(options);
    const Posted& other = send(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).starts = {failed(code_exhausted)};
    const Posted& op = send(socket);
    turn();
    EXPECT_TRUE(op.accepted);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(backend().request_of(op.id), nullptr);
    EXPECT_EQ(charged(), 2 * page()) << "it is accepted, so it is charged";
    backend().deliver(other.id, 4096);
    turns(2);
    ASSERT_NE(backend().request_of(op.id), nullptr) << "what completed may have freed enough";
    backend().deliver(op.id, 4096);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(FlowTest, WithoutACompletionARefusalIsTriedAgainAfterAWhile) {
    PortOptions options;
    options.over_budget = OverBudget::queue;
    make(options);
    receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).starts = {failed(code_exhausted)};
    const Posted& op = send(socket);
    turn_until(backend().time + 1'000'000'000);
    turn();
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(FlowTest, WithNothingElseOutstandingARefusalIsTheResult) {
    PortOptions options;
    options.over_budget = OverBudget::queue;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).attempts = {failed(code_exhausted)};
    EXPECT_EQ(send(socket).refusal.fault, Fault::resource);
}

TEST_F(FlowTest, UnderRaiseARefusalIsTheResult) {
    receive(open_socket());
    Socket& socket = open_socket();
    backend().on(socket).starts = {failed(code_exhausted)};
    const Posted& op = send(socket);
    turn();
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::resource);
}

TEST_F(FlowTest, AnIdleConnectionIsClosedAndOneThatMovesBytesIsNot) {
    PortOptions options;
    options.idle_timeout = 1'000'000'000;
    const Posted& accepts = offered(options, 2);
    ASSERT_EQ(accepts.connections.size(), 2U);
    Socket& idle = *accepts.connections[0];
    Socket& busy = *accepts.connections[1];
    const Posted& waits = receive(idle);
    backend().time += 600'000'000;
    const Posted& got = receive(busy);
    backend().deliver(got.id, 10);
    turn();
    backend().time += 500'000'000;
    turns(2);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].socket, &idle);
    EXPECT_EQ(closed[0].failure.fault, Fault::timed_out);
    EXPECT_EQ(waits.error.fault, Fault::timed_out);
    EXPECT_EQ(busy.state, SocketState::open);
    backend().time += 1'100'000'000;
    turns(2);
    EXPECT_EQ(closed.size(), 2U) << "it is closed too after a second of silence";
}

TEST_F(FlowTest, ADisconnectThatIsAskedAgainTakesThePlaceOfTheIdleTimeout) {
    PortOptions options;
    options.idle_timeout = 1'000'000'000;
    const Posted& accepts = offered(options, 1);
    Socket& socket = *accepts.connections.at(0);
    backend().on(socket).starts = {failed(code_queue_full), failed(code_queue_full)};
    const Posted& end = post(socket, OperationKind::disconnect);
    for (int i = 0; i < 4; ++i) {
        backend().time += options.idle_timeout;
        turn();
    }
    EXPECT_NE(backend().request_of(end.id), nullptr);
    EXPECT_TRUE(closed.empty());
}

TEST_F(FlowTest, WhatAPeerSendsIsNoProgressWhileItReadsNothing) {
    PortOptions options;
    options.idle_timeout = 1'000'000'000;
    const Posted& accepts = offered(options, 1);
    Socket& stalled = *accepts.connections.at(0);
    send(stalled);
    for (int i = 0; i < 4; ++i) {
        const Posted& got = receive(stalled);
        backend().time += 300'000'000;
        backend().deliver(got.id, 10);
        turn();
    }
    turn();
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::timed_out);
}

TEST_F(FlowTest, AtTheCapOnConnectionsTheListenerWaitsForOneToClose) {
    PortOptions options;
    options.caps.max_connections = 2;
    const Posted& accepts = offered(options, 3);
    turns(2);
    EXPECT_EQ(accepts.connections.size(), 2U);
    EXPECT_EQ(backend().on(*accepts.socket).starts.size(), 1U) << "the third was not asked for";
    close(*accepts.connections[0]);
    turns(2);
    EXPECT_EQ(accepts.connections.size(), 3U);
}

}  // namespace
}  // namespace iocp::scripted
