// Two ways to end a socket without sending the rest: abort() resets the connection, and detach()
// gives the handle back.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

class AbortTest : public CoreTest {};

TEST_F(AbortTest, ResetsAndDrainsNothing) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& s = send(socket);
    forget_calls();
    abort(socket);
    turns(2);
    EXPECT_EQ(s.error.fault, Fault::cancelled);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("reset", "cancel:send", "close"))
        << "a shutdown would show the peer an orderly end before the reset";
}

TEST_F(AbortTest, EndsADrain) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& s = send(socket);
    close(socket, 1'000'000'000);
    abort(socket);
    turns(2);
    EXPECT_TRUE(s.completed());
    EXPECT_THAT(backend().calls_on(handle), Contains("reset"));
    EXPECT_EQ(closed.size(), 1U);
}

class DetachTest : public CoreTest {};

TEST_F(DetachTest, CancelsAndReapsAndLeavesTheHandle) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& op = receive(socket);
    forget_calls();
    locked([&] { port().sockets().detach(socket); });
    EXPECT_FALSE(locked([&] { return socket.idle(); }));
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive"));
    backend().deliver(op.id, -code_cancelled);
    EXPECT_FALSE(port().collect(backend().time));
    EXPECT_TRUE(locked([&] { return socket.idle(); }));
    EXPECT_EQ(socket.handle, handle);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive", "detach"));
    turn();
    EXPECT_TRUE(backend().is_open(handle));
    expected_handles = 1;
}

TEST_F(DetachTest, AnAbortMeanwhileLeavesTheHandleToTheCaller) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& op = receive(socket);
    forget_calls();
    locked([&] { port().sockets().detach(socket); });
    locked([&] { port().sockets().abort(socket); });
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive", "detach"));
    EXPECT_TRUE(backend().is_open(handle));
    expected_handles = 1;
}

}  // namespace
}  // namespace iocp::scripted
