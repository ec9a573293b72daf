// Direct sends end in two steps, and keep their memory until the second.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;

class DirectSendTest : public CoreTest {
protected:
    Socket& direct_socket() {
        Socket& socket = open_socket();
        EXPECT_FALSE(locked(
            [&] { return port().sockets().set_send_strategy(socket, SendStrategy::direct); }));
        forget_calls();
        return socket;
    }
    // Posts a send whose bytes are transferred, but whose memory the kernel has not released.
    Posted& send_transferred(Socket& socket) {
        Posted& op = send(socket, {.length = 100});
        backend().deliver_transferred(op.id, 100);
        turn();
        return op;
    }
};

TEST_F(DirectSendTest, CompletesRefundsAndGivesItsBufferBackOnlyAtTheRelease) {
    Socket& socket = direct_socket();
    const Posted& op = send(socket, {.length = 5000});
    EXPECT_THAT(calls(socket), ElementsAre("start:send")) << "an attempt would copy";
    backend().deliver_transferred(op.id, 5000);
    turns(2);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(op.leases_given_back, 0);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 5000U);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(DirectSendTest, TheNextSendStartsWhenTheFirstHasGone) {
    Socket& socket = direct_socket();
    const Posted& first = send(socket, {.length = 4096});
    const Posted& second = send(socket, {.length = 4096});
    EXPECT_EQ(backend().request_of(second.id), nullptr);
    backend().deliver_transferred(first.id, 4096);
    turn();
    EXPECT_NE(backend().request_of(second.id), nullptr);
    backend().deliver_transferred(second.id, 4096);
    backend().deliver_released(second.id);
    turn();
    EXPECT_TRUE(second.succeeded()) << "releases come in any order";
    EXPECT_EQ(first.completions, 0);
    backend().deliver_released(first.id);
    turn();
    EXPECT_TRUE(first.succeeded());
}

TEST_F(DirectSendTest, AShortOneWaitsForEveryRelease) {
    Socket& socket = direct_socket();
    const Posted& op = send(socket, {.length = 4096});
    backend().deliver_transferred(op.id, 1000);
    turn();
    ASSERT_NE(backend().request_of(op.id), nullptr) << "the rest goes on";
    backend().deliver_released(op.id);
    turn();
    EXPECT_EQ(op.completions, 0);
    backend().deliver_transferred(op.id, 3096);
    turn();
    EXPECT_EQ(op.completions, 0);
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 4096U);
}

TEST_F(DirectSendTest, OnesThatStandSideBySideAreNotPutTogether) {
    Socket& socket = direct_socket();
    for (int i = 0; i < 3; ++i) {
        send(socket, {.length = 100, .batched = true});
    }
    turn();
    ASSERT_EQ(backend().held().size(), 1U);
    EXPECT_EQ(backend().held()[0].count, 1U);
}

TEST_F(DirectSendTest, ARefusalForLackOfLockedMemoryIsAResourceFault) {
    Socket& socket = direct_socket();
    const Posted& op = send(socket, {.length = 100});
    backend().deliver(op.id, -code_exhausted);
    turn();
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::resource);
    EXPECT_TRUE(send(socket, {.length = 100}).accepted) << "nothing went: the stream goes on";
}

TEST_F(DirectSendTest, ACancelAfterItWentHasLostTheRace) {
    Socket& socket = direct_socket();
    Posted& op = send(socket, {.length = 100});
    backend().deliver_transferred(op.id, 100);
    turn();
    EXPECT_TRUE(cancel(op));
    turn();
    EXPECT_EQ(op.completions, 0);
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(DirectSendTest, CloseWaitsForTheReleaseWithinItsDeadline) {
    Socket& socket = direct_socket();
    const Posted& op = send_transferred(socket);
    close(socket, 1'000'000'000);
    turn();
    EXPECT_TRUE(closed.empty());
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(backend().count("reset"), 0U);
}

TEST_F(DirectSendTest, CloseOvertakesADisconnectThatHasBegun) {
    Socket& socket = direct_socket();
    socket.connected = true;
    const Posted& op = send_transferred(socket);
    const Posted& end = post(socket, OperationKind::disconnect);
    ASSERT_NE(backend().request_of(end.id), nullptr);
    close(socket, 1'000'000'000);
    turns(2);
    EXPECT_EQ(end.error.fault, Fault::cancelled);
    EXPECT_TRUE(closed.empty());
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(DirectSendTest, CloseKeepsItsDeadlineWhereADisconnectWasToBeAskedAgain) {
    Socket& socket = direct_socket();
    socket.connected = true;
    const Posted& op = send_transferred(socket);
    backend().on(socket).starts = {failed(code_queue_full)};
    const Posted& end = post(socket, OperationKind::disconnect);
    close(socket, 1'000'000'000);
    turns(2);
    EXPECT_EQ(end.error.fault, Fault::cancelled);
    EXPECT_TRUE(backend().is_open(socket.handle));
    backend().time += 1'000'000'000;
    turns(2);
    EXPECT_EQ(backend().count("reset"), 1U) << "the deadline has passed";
    EXPECT_TRUE(closed.empty());
    backend().deliver_released(op.id);
    turn();
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(DirectSendTest, CloseWithoutPatienceResetsAndIsHandedOutAfterTheRelease) {
    Socket& socket = direct_socket();
    const Handle handle = socket.handle;
    const Posted& op = send_transferred(socket);
    close(socket, 0);
    turn();
    EXPECT_FALSE(backend().is_open(handle)) << "only a reset makes the kernel let go";
    EXPECT_EQ(backend().count("reset"), 1U);
    EXPECT_TRUE(closed.empty());
    EXPECT_EQ(op.leases_given_back, 0);
    backend().deliver_released(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(DirectSendTest, ReleasesLostWithTheThreadThatRanThePortResetTheConnection) {
    Socket& socket = direct_socket();
    const Posted& op = send_transferred(socket);
    backend().lose_requests();
    turns(2);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(charged(), 0U);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::cancelled);
}

// The rest of the send starts again in the new ring, but the release that the old ring owed is
// lost.
TEST_F(DirectSendTest, AReleaseLostOfASendThatGoesOnResetsTheConnection) {
    Socket& socket = direct_socket();
    const Posted& op = send(socket, {.length = 4096});
    backend().deliver_transferred(op.id, 1000);
    turn();
    ASSERT_NE(backend().request_of(op.id), nullptr) << "the rest goes on";
    backend().lose_requests();
    turns(3);
    EXPECT_EQ(backend().count("reset"), 1U);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(DirectSendTest, WhereTheBackendCannotTheStrategyIsRefused) {
    Socket& socket = open_socket();
    backend().sends_direct = false;
    const Error error =
        locked([&] { return port().sockets().set_send_strategy(socket, SendStrategy::direct); });
    EXPECT_EQ(error.fault, Fault::argument);
    EXPECT_EQ(socket.send_strategy, SendStrategy::buffered);
}

TEST_F(DirectSendTest, WhenWritableNothingIsChargedAndTheSystemHoldsNothing) {
    Socket& socket = open_socket();
    locked([&] { (void)port().sockets().set_send_strategy(socket, SendStrategy::when_writable); });
    forget_calls();
    auto& attempts = backend().on(socket).attempts;
    attempts = {done(1000), pending()};
    const Posted& op = send(socket, {.length = 5000});
    EXPECT_THAT(calls(socket), ElementsAre("attempt:send", "attempt:send", "start:send?"));
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(view().peak, 0U);
    attempts = {done(3000), pending()};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_EQ(op.completions, 0);
    attempts = {done(1000)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 5000U);
    EXPECT_EQ(view().peak, 0U);
}

}  // namespace
}  // namespace iocp::scripted
