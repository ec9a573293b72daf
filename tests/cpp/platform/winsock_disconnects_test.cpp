// Disconnects: the flag that lets the socket be used again, and packets that the system skips.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockDisconnects : public WinsockSeam {};

TEST_F(WinsockDisconnects, ADisconnectSaysWhetherTheSocketIsUsedAgain) {
    for (const bool reuse : {false, true}) {
        const auto [one, other] = engine().pair();
        script.disconnects = 0;
        const Op& op = engine().post(*one, OperationKind::disconnect, {}, {.reuse = reuse});
        engine().close(*other);
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_TRUE(op.succeeded());
        EXPECT_EQ(script.disconnects, 1);
        EXPECT_EQ(script.disconnect_flags, reuse ? static_cast<DWORD>(TF_REUSE_SOCKET) : 0U);
        EXPECT_EQ(one->connected, !reuse);
        EXPECT_EQ(port().figures().counts().late, 0U);
        if (reuse) {
            Socket& listener = engine().listener();
            script.connects = 0;
            const Op& again = engine().connect(*one, engine().name_of(listener));
            ASSERT_TRUE(engine().finish_one(again));
            EXPECT_EQ(script.connects, 1);
            EXPECT_EQ(script.connected, static_cast<SOCKET>(one->handle));
            // Wine 8.0 refuses the second connect with WSAEISCONN, which ends no socket.
            EXPECT_TRUE(again.succeeded() || again.error.code == WSAEISCONN);
            EXPECT_EQ(one->state, SocketState::open);
        }
    }
}

TEST_F(WinsockDisconnects, ADisconnectWhosePacketIsSkippedCompletesOnce) {
    script.disconnects_quietly = true;
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*one, OperationKind::disconnect);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

TEST_F(WinsockDisconnects, ADisconnectWhosePacketComesCompletesOnce) {
    make({}, false);
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*one, OperationKind::disconnect, {}, {.reuse = true});
    engine().close(*other);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    engine().settle();
    EXPECT_EQ(port().figures().counts().late, 0U);
}

}  // namespace
}  // namespace iocp::contract

#endif
