// Sockets, tested without a port: open(), adopt(), accepted(), and the state after a refusal.
#include "core/sockets.hpp"

#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

class SocketsTest : public PartsTest {
protected:
    Sockets& sockets() { return parts().sockets; }
    Socket* out_{nullptr};
};

TEST_F(SocketsTest, AnOpenedSocketHasWhatThePortGivesSockets) {
    PortOptions options;
    options.defaults.skip_done = true;
    options.defaults.marks = {.high = 10, .low = 5, .cap = 20};
    make(options);
    Socket& socket = open_socket();
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_TRUE(socket.skip_done);
    EXPECT_EQ(socket.marks.cap, 20U);
    EXPECT_EQ(sockets().open(), 1U);
}

TEST_F(SocketsTest, ARefusedOpenLeavesNothing) {
    backend.next_open_error = code_exhausted;
    EXPECT_EQ(sockets().open(family_inet, type_stream, 0, out_).fault, Fault::resource);
    backend.next_describe_error = code_plain;
    EXPECT_EQ(sockets().open(family_inet, type_stream, 0, out_).fault, Fault::system);
    EXPECT_EQ(backend.open_handles(), 0U);
    EXPECT_EQ(sockets().open(), 0U);
    EXPECT_EQ(parts().socket_table.used(), 0U);
}

TEST_F(SocketsTest, ARefusedAdoptionLeavesTheHandleToItsCaller) {
    const Handle handle = backend.make_handle();
    backend.next_describe_error = code_plain;
    EXPECT_TRUE(sockets().adopt({handle}, out_));
    EXPECT_TRUE(backend.is_open(handle));
    EXPECT_EQ(sockets().open(), 0U);
    EXPECT_FALSE(sockets().adopt({handle, true}, out_));
    EXPECT_TRUE(out_->shared);
    EXPECT_TRUE(out_->was_nonblocking);
}

TEST_F(SocketsTest, AnAcceptedSocketIsUnclaimedAndWatchedWhereThePortSaysSo) {
    PortOptions options;
    options.idle_timeout = 1'000'000;
    make(options);
    Socket& listener = open_socket();
    Socket* accepted = sockets().accepted(listener, backend.make_handle());
    ASSERT_NE(accepted, nullptr);
    EXPECT_TRUE(accepted->unclaimed);
    EXPECT_TRUE(accepted->connected);
    EXPECT_EQ(accepted->family, listener.family);
    ASSERT_NE(accepted->timer, nullptr);
    EXPECT_EQ(accepted->timer->kind, TimerKind::idle_connection);
    parts().timers.disarm(accepted->timer);
}

TEST_F(SocketsTest, NothingIsOpenedOnceThePortCloses) {
    sockets().refuse_all();
    EXPECT_TRUE(sockets().closing());
    EXPECT_EQ(sockets().open(family_inet, type_stream, 0, out_).fault, Fault::port_closed);
    const Handle handle = backend.make_handle();
    EXPECT_EQ(sockets().adopt({handle}, out_).fault, Fault::port_closed);
    EXPECT_TRUE(backend.is_open(handle));
}

}  // namespace
}  // namespace iocp::scripted
