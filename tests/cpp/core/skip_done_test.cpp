// skip_done: a socket without completions for operations that their post has finished (R03).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;

class SkipDoneTest : public CoreTest {
protected:
    Socket& skipping() {
        Socket& socket = open_socket();
        locked([&] { socket.skip_done = true; });
        return socket;
    }
};

TEST_F(SkipDoneTest, ADoneOperationLeavesNoPacket) {
    Socket& socket = skipping();
    backend().on(socket).attempts = {done(100), done(4096)};
    const Posted& in = receive(socket);
    const Posted& out = send(socket);
    EXPECT_TRUE(in.silent);
    EXPECT_EQ(in.transferred, 100U);
    EXPECT_EQ(in.leases_given_back, 1) << "nothing is left to hand out";
    EXPECT_TRUE(out.silent);
    EXPECT_EQ(port().operations().outstanding(), 0U);
    EXPECT_EQ(socket.outstanding, 0U);
    EXPECT_EQ(port().operations().table().free(), port().operations().table().capacity());
    EXPECT_EQ(view().peak, 0U);
    turns(2);
    EXPECT_EQ(in.completions, 0);
    EXPECT_EQ(out.completions, 0);
}

TEST_F(SkipDoneTest, APendingOperationCompletesAsEver) {
    Socket& socket = skipping();
    const Posted& op = receive(socket);
    EXPECT_EQ(op.outcome, Outcome::pending);
    backend().deliver(op.id, 7);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_FALSE(op.silent);
}

TEST_F(SkipDoneTest, AQueuedOperationCompletesAsEver) {
    Socket& socket = skipping();
    backend().on(socket).starts = {done(4096)};
    const Posted& op = send(socket, {.batched = true});
    EXPECT_EQ(op.outcome, Outcome::queued);
    turns(2);
    EXPECT_TRUE(op.succeeded());
}

TEST_F(SkipDoneTest, WhatIsDoneInsideThePostButWasPendingCompletesAsEver) {
    Socket& socket = skipping();
    backend().on(socket).attempts = {done(96)};
    backend().on(socket).starts = {done(4000)};
    const Posted& op = send(socket);
    EXPECT_EQ(op.outcome, Outcome::pending) << "its caller was told to wait for the packet";
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 4096U);
}

TEST_F(SkipDoneTest, AnAcceptedConnectionIsThereAtOnce) {
    Socket& listener = skipping();
    backend().on(listener).attempts = {connection(backend().make_handle())};
    const Posted& op = post(listener, OperationKind::accept);
    ASSERT_TRUE(op.silent);
    ASSERT_NE(op.connection, nullptr);
    EXPECT_EQ(op.connection->state, SocketState::open);
    EXPECT_FALSE(op.connection->skip_done) << "the option of the listener is not inherited";
}

TEST_F(SkipDoneTest, APortMayStartItsSocketsThatWay) {
    PortOptions options;
    options.defaults.skip_done = true;
    make(options);
    Socket& listener = open_socket();
    EXPECT_TRUE(listener.skip_done);
    backend().on(listener).attempts = {connection(backend().make_handle())};
    const Posted& op = post(listener, OperationKind::accept);
    ASSERT_NE(op.connection, nullptr);
    EXPECT_TRUE(op.connection->skip_done);
}

TEST_F(SkipDoneTest, TheOptionIsThatOfTheMomentOfThePost) {
    Socket& socket = skipping();
    backend().on(socket).attempts = {done(1), done(1), done(1)};
    const Posted& skipped = receive(socket);
    locked([&] { socket.skip_done = false; });
    const Posted& told = receive(socket);
    locked([&] { socket.skip_done = true; });
    turn();
    EXPECT_TRUE(told.succeeded());
    EXPECT_THAT((std::vector{skipped.sequence, told.sequence}), ElementsAre(1U, 2U));
}

TEST_F(SkipDoneTest, NobodyIsWokenForIt) {
    Socket& socket = skipping();
    backend().on(socket).attempts = {done(1)};
    backend().on_wait = [&] { receive(socket); };
    turn_until(backend().time + 1000);
    EXPECT_EQ(backend().wakes, 0);
}

}  // namespace
}  // namespace iocp::scripted
