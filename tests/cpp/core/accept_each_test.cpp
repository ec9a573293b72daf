// accept_each: the error of one connection does not stop its listener (R10, R32).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AcceptEachTest : public CoreTest {
protected:
    std::deque<StartResult> connections(int count) {
        std::deque<StartResult> answers;
        for (int i = 0; i < count; ++i) {
            answers.push_back(connection(backend().make_handle()));
        }
        return answers;
    }
    Posted& subscribe(Socket& listener, std::int64_t timeout = -1) {
        return post(listener, OperationKind::accept_each, {.timeout = timeout});
    }
};

TEST_F(AcceptEachTest, TakesWhatIsThereAndWaits) {
    Socket& listener = open_socket();
    backend().on(listener).starts = connections(3);
    const Posted& op = subscribe(listener);
    EXPECT_THAT(op.connections, IsEmpty()) << "no connection is handed out inside the post";
    turn();
    EXPECT_EQ(op.connections.size(), 3U);
    EXPECT_EQ(port().sockets().open_count(), 4U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(AcceptEachTest, AConnectionIsAWorkingSocket) {
    Socket& listener = open_socket();
    backend().on(listener).starts = connections(1);
    const Posted& op = subscribe(listener);
    turn();
    ASSERT_EQ(op.connections.size(), 1U);
    Socket& socket = *op.connections[0];
    EXPECT_EQ(socket.family, listener.family);
    EXPECT_EQ(socket.type, listener.type);
    EXPECT_TRUE(socket.stream);
    EXPECT_TRUE(receive(socket).accepted);
    EXPECT_TRUE(send(socket).accepted);
}

TEST_F(AcceptEachTest, AReadyPacketTakesMore) {
    Socket& listener = open_socket();
    const Posted& op = subscribe(listener);
    for (std::size_t i = 1; i <= 3; ++i) {
        backend().on(listener).starts = connections(1);
        backend().deliver_ready(op.id);
        turn();
        EXPECT_EQ(op.connections.size(), i);
    }
}

TEST_F(AcceptEachTest, OneTurnTakesABoundedNumberAndTheNextDoesNotWait) {
    Socket& listener = open_socket();
    backend().on(listener).starts = connections(200);
    const Posted& op = subscribe(listener);
    turn();
    const std::size_t first = op.connections.size();
    EXPECT_LT(first, 200U);
    for (int i = 0; i < 10 && op.connections.size() < 200; ++i) {
        turn_until(backend().time + 1'000'000);
        EXPECT_EQ(backend().waits.back(), 0);
    }
    EXPECT_EQ(op.connections.size(), 200U);
}

TEST_F(AcceptEachTest, AnErrorOfOneConnectionIsToldAndTheNextIsTaken) {
    Socket& listener = open_socket();
    auto answers = connections(2);
    answers.insert(answers.begin() + 1, failed(code_plain));
    backend().on(listener).starts = answers;
    const Posted& op = subscribe(listener);
    turn();
    EXPECT_EQ(op.connections.size(), 2U);
    ASSERT_EQ(op.accept_errors.size(), 1U);
    EXPECT_EQ(op.accept_errors[0].code, code_plain);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(listener.state, SocketState::open);
}

TEST_F(AcceptEachTest, AnErrorPacketIsToldAndItGoesOn) {
    Socket& listener = open_socket();
    const Posted& op = subscribe(listener);
    backend().deliver(op.id, -code_plain);
    turn();
    ASSERT_EQ(op.accept_errors.size(), 1U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(AcceptEachTest, LackOfResourcesBacksOff) {
    Socket& listener = open_socket();
    backend().on(listener).starts = {failed(code_exhausted)};
    const Posted& op = subscribe(listener);
    turns(5);
    ASSERT_EQ(op.accept_errors.size(), 1U) << "reported once, not once per turn";
    EXPECT_EQ(op.accept_errors[0].fault, Fault::resource);
    EXPECT_EQ(backend().request_of(op.id), nullptr);
    EXPECT_EQ(backend().started.size(), 1U);
    backend().on(listener).starts = connections(1);
    turn_until(-1);
    EXPECT_GT(backend().waits.back(), 0) << "the pause bounds the wait";
    turn();
    EXPECT_EQ(op.connections.size(), 1U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(AcceptEachTest, BacksOffAgainWhileItLasts) {
    Socket& listener = open_socket();
    backend().on(listener).starts = std::deque<StartResult>(4, failed(code_exhausted));
    const Posted& op = subscribe(listener);
    for (int i = 0; i < 12; ++i) {
        turn_until(backend().time + 100'000'000);
    }
    EXPECT_EQ(op.accept_errors.size(), 4U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(AcceptEachTest, TheEndOfAConnectionWaitsUntilItWasHandedOut) {
    Socket& listener = open_socket();
    backend().on(listener).starts = connections(1);
    subscribe(listener);
    std::vector<Ready> inbox;
    EXPECT_FALSE(port().poll(backend().time, inbox));
    ASSERT_EQ(inbox.size(), 1U);
    Socket& connection = *inbox.front().accepted;
    locked([&] { port().sockets().close(connection, 0); });
    EXPECT_EQ(connection.state, SocketState::closed);
    turns(2);
    EXPECT_THAT(closed, IsEmpty()) << "its slot would be given to the next connection";
    locked([&] { port().sockets().claim(connection); });
    turns(2);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed.front().socket, &connection);
}

TEST_F(AcceptEachTest, CancelledWhileItBacksOff) {
    Socket& listener = open_socket();
    backend().on(listener).starts = {failed(code_exhausted)};
    Posted& op = subscribe(listener);
    turn();
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    backend().time += 1'000'000'000;
    turns(2);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(AcceptEachTest, ItsTimeoutAndItsPauseAreTwoTimers) {
    Socket& listener = open_socket();
    backend().on(listener).starts = {failed(code_exhausted)};
    Posted& op = subscribe(listener, 10'000'000'000);
    turn();
    if (!op.accepted) {
        return;  // a core that refuses timeouts of subscriptions has nothing to check
    }
    cancel(op);
    turn();
    EXPECT_TRUE(op.completed());
    EXPECT_TRUE(locked([&] { return port().quiet(); })) << "a timer of a dead operation is left";
}

TEST_F(AcceptEachTest, ItsOwnEndEndsIt) {
    Socket& listener = open_socket();
    const Posted& op = subscribe(listener);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(AcceptEachTest, ItsOwnEndWhenStartedEndsIt) {
    Socket& listener = open_socket();
    backend().on(listener).starts = {failed(code_fatal)};
    const Posted& op = subscribe(listener);
    turns(2);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(AcceptEachTest, CancelledWhileItWaits) {
    Socket& listener = open_socket();
    Posted& op = subscribe(listener);
    EXPECT_TRUE(cancel(op));
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(listener.state, SocketState::open);
    EXPECT_TRUE(subscribe(listener).accepted);
}

TEST_F(AcceptEachTest, ACancelThatMeetsItsReadinessTakesNoMore) {
    backend().answers_cancels = false;
    Socket& listener = open_socket();
    Posted& op = subscribe(listener);
    cancel(op);
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(AcceptEachTest, ACancelNobodyAskedForStartsItAgain) {
    Socket& listener = open_socket();
    const Posted& op = subscribe(listener);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_THAT(op.accept_errors, IsEmpty());
    EXPECT_EQ(backend().started.size(), 2U);
}

}  // namespace
}  // namespace iocp::scripted
