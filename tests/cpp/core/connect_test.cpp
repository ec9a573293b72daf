// A connect to a listener whose queue is full: the core tries again after a pause (R32).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;

class ConnectTest : public CoreTest {
protected:
    // Opens a socket whose first `times` attempts to connect find the listener's queue full.
    Socket& refused(std::size_t times) {
        Socket& socket = open_socket();
        socket.connected = false;
        for (std::size_t i = 0; i < times; ++i) {
            backend().on(socket).starts.push_back(failed(code_queue_full));
        }
        return socket;
    }
};

TEST_F(ConnectTest, IsAskedAgainUntilThereIsRoom) {
    Socket& socket = refused(2);
    const Posted& op = post(socket, OperationKind::connect);
    EXPECT_EQ(op.outcome, Outcome::queued) << "the core holds it";
    EXPECT_EQ(op.state(), State::queued);
    backend().on(socket).starts.push_back(done(0));
    turns(3);
    EXPECT_EQ(backend().count("start:connect"), 1U) << "not before the pause is over";
    for (int i = 0; i < 2; ++i) {
        turn_until(-1);
    }
    EXPECT_TRUE(op.succeeded());
    EXPECT_TRUE(socket.connected);
    EXPECT_EQ(backend().count("start:connect"), 3U);
}

TEST_F(ConnectTest, MayPendWhenItIsAskedAgain) {
    Socket& socket = refused(1);
    const Posted& op = post(socket, OperationKind::connect);
    turn_until(-1);
    EXPECT_EQ(op.state(), State::pending);
    backend().deliver(op.id, 0);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(ConnectTest, WaitsTwiceAsLongEachTimeUpToABound) {
    post(refused(9), OperationKind::connect);
    backend().waits.clear();
    for (int i = 0; i < 9; ++i) {
        turn_until(-1);
    }
    constexpr std::int64_t ms = 1'000'000;
    EXPECT_THAT(backend().waits, ElementsAre(ms, 2 * ms, 4 * ms, 8 * ms, 16 * ms, 32 * ms, 64 * ms,
                                             64 * ms, 64 * ms));
}

TEST_F(ConnectTest, AnotherErrorEndsIt) {
    Socket& socket = refused(1);
    const Posted& op = post(socket, OperationKind::connect);
    const Posted& behind = send(socket);
    backend().on(socket).starts.push_back(failed(code_plain));
    turn_until(-1);
    turn();
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(behind.error.code, code_plain);
}

TEST_F(ConnectTest, NothingBehindItStartsIt) {
    Socket& socket = refused(1);
    const Posted& op = post(socket, OperationKind::connect);
    Posted& first = send(socket);
    const Posted& second = send(socket, {.batched = true});
    cancel(first);
    turns(2);
    EXPECT_EQ(backend().count("start:connect"), 1U);
    EXPECT_EQ(backend().count("start:send"), 0U);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(second.completions, 0);
}

TEST_F(ConnectTest, CanBeCancelledWhileItWaits) {
    Socket& socket = refused(1);
    Posted& op = post(socket, OperationKind::connect);
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(socket.timer, nullptr);
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_EQ(backend().count("start:connect"), 1U);
}

TEST_F(ConnectTest, ItsTimeoutEndsTheWait) {
    const Posted& op = post(refused(1), OperationKind::connect, {.timeout = 500});
    turn_until(-1);
    turn();
    EXPECT_EQ(op.error.fault, Fault::timed_out);
}

TEST_F(ConnectTest, ClosingTheSocketEndsTheWait) {
    Socket& socket = refused(1);
    const Posted& op = post(socket, OperationKind::connect);
    close(socket, 1'000'000'000);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(closed.size(), 1U);
}

// Tests of a connect that the system has started, and that may have to be withdrawn.
class AttemptTest : public ConnectTest {
protected:
    Socket& unconnected() { return refused(0); }
};

TEST_F(AttemptTest, IsWithdrawnWhenItIsCancelled) {
    Socket& socket = unconnected();
    Posted& op = post(socket, OperationKind::connect);
    const Posted& behind = send(socket);
    cancel(op);
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(behind.error.fault, Fault::cancelled)
        << "it would reach the peer of the next connect";
    EXPECT_EQ(backend().count("withdraw"), 1U);
    EXPECT_EQ(backend().count("start:send"), 0U);
    EXPECT_EQ(socket.state, SocketState::open) << "it may connect again";
}

TEST_F(AttemptTest, IsWithdrawnWhenItsTimeIsUp) {
    Socket& socket = unconnected();
    const Posted& op = post(socket, OperationKind::connect, {.timeout = 500});
    turn_until(-1);
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    EXPECT_EQ(backend().count("withdraw"), 1U);
}

TEST_F(AttemptTest, IsWithdrawnBeforeItsSocketCloses) {
    Socket& socket = unconnected();
    const Handle handle = socket.handle;
    post(socket, OperationKind::connect);
    forget_calls();
    close(socket);
    turns(2);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:connect", "withdraw", "close"));
}

TEST_F(AttemptTest, ThatCameAboutMeanwhileIsWithdrawnAsWell) {
    Socket& socket = unconnected();
    backend().answers_cancels = false;
    Posted& op = post(socket, OperationKind::connect);
    cancel(op);
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().count("withdraw"), 1U);
    EXPECT_FALSE(socket.connected);
}

TEST_F(AttemptTest, ThatTheSystemEndedNeedsNoWithdrawal) {
    Socket& socket = unconnected();
    const Posted& op = post(socket, OperationKind::connect);
    backend().deliver(op.id, -code_plain);
    turns(2);
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(backend().count("withdraw"), 0U);
}

TEST_F(AttemptTest, TheNextConnectIsMadeAfterIt) {
    Socket& socket = unconnected();
    Posted& first = post(socket, OperationKind::connect);
    const Posted& lost = send(socket);
    const Posted& second = post(socket, OperationKind::connect);
    const Posted& behind = send(socket);
    cancel(first);
    backend().on(socket).starts.push_back(done(0));
    backend().on(socket).starts.push_back(done(4096));
    turns(2);
    EXPECT_EQ(first.error.fault, Fault::cancelled);
    EXPECT_EQ(lost.error.fault, Fault::cancelled);
    EXPECT_TRUE(second.succeeded());
    EXPECT_TRUE(behind.succeeded());
}

TEST_F(AttemptTest, ThatCannotBeWithdrawnEndsItsSocket) {
    Socket& socket = unconnected();
    backend().withdraw_error = code_plain;
    Posted& op = post(socket, OperationKind::connect);
    cancel(op);
    turns(2);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_plain);
}

TEST_F(AttemptTest, TellsReceivesAheadWhyItEndedAlsoWhereItCannotBeWithdrawn) {
    Socket& socket = unconnected();
    backend().withdraw_error = code_plain;
    Posted& op = post(socket, OperationKind::connect);
    receive(socket);
    cancel(op);
    turns(3);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::cancelled);
}

TEST_F(AttemptTest, EndsReceivesThatWerePostedAhead) {
    Socket& socket = unconnected();
    Posted& op = post(socket, OperationKind::connect);
    const Posted& ahead = receive(socket);
    cancel(op);
    turns(3);
    EXPECT_EQ(ahead.error.fault, Fault::cancelled);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::cancelled);
}

TEST_F(AttemptTest, OfAConnectedSocketFailsAlone) {
    Socket& socket = open_socket();
    const Posted& waiting = receive(socket);
    backend().on(socket).starts.push_back(failed(code_plain));
    const Posted& op = post(socket, OperationKind::connect);
    turns(2);
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(waiting.completions, 0);
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_EQ(backend().count("withdraw"), 0U);
}

}  // namespace
}  // namespace iocp::scripted
