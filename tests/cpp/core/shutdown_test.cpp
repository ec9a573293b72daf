// shutdown() ends one direction of a connection, behind its queued sends.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ShutdownTest : public CoreTest {};

TEST_F(ShutdownTest, FollowsTheQueuedSends) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 10});
    forget_calls();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    EXPECT_THAT(calls(socket), IsEmpty());
    backend().deliver(a.id, 10);
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send"));
    backend().deliver(b.id, 10);
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send", "shutdown:w"));
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    EXPECT_EQ(backend().count("shutdown:w"), 1U) << "once";
}

TEST_F(ShutdownTest, OfAnIdleSocketIsAtOnce) {
    Socket& socket = open_socket();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, true, true); }));
    EXPECT_THAT(calls(socket), ElementsAre("shutdown:r", "shutdown:w"));
}

TEST_F(ShutdownTest, FollowsSendsThatAreCancelled) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 10});
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    cancel(a);
    turns(2);
    EXPECT_EQ(a.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().count("shutdown:w"), 1U);
}

TEST_F(ShutdownTest, DoesNotFollowASendThatWasCut) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 10});
    backend().deliver(a.id, 4);
    turn();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    cancel(a);
    turns(2);
    EXPECT_EQ(backend().count("shutdown:w"), 0U)
        << "the peer would take a part of the data for all of it";
    EXPECT_EQ(locked([&] { return port().sockets().shutdown(socket, false, true); }).fault,
              Fault::socket_closed);
}

TEST_F(ShutdownTest, OfAClosedSocketIsRefused) {
    Socket& socket = open_socket();
    close(socket);
    EXPECT_EQ(locked([&] { return port().sockets().shutdown(socket, true, true); }).fault,
              Fault::socket_closed);
}

}  // namespace
}  // namespace iocp::scripted
