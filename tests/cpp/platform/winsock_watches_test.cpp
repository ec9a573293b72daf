// Waits of watched sockets: polls of AFD, which the system may refuse, and whose cancel it may
// lose.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockWatches : public WinsockSeam {
protected:
    void SetUp() override {
        WinsockSeam::SetUp();
        Handle other = no_handle;
        ASSERT_TRUE(engine().socket_pair(handle_, other));
        peer_ = &engine().adopt(other);
        Socket* socket = nullptr;
        ASSERT_FALSE(engine().locked([&] { return port().sockets().watch(handle_, socket); }));
        watch_ = socket;
    }
    void TearDown() override { close_handle(); }
    void close_handle() {
        if (handle_ != no_handle) {
            platform::close_handle(std::exchange(handle_, no_handle));
        }
    }

    Handle handle_{no_handle};
    Socket* peer_{nullptr};
    Socket* watch_{nullptr};
};

TEST_F(WinsockWatches, AWaitIsHeldUntilItsPacketThoughItsCancelIsLost) {
    const Op& op = engine().post(*watch_, OperationKind::zero_byte);
    engine().settle();
    script.lose_cancels = 2;
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_GE(script.cancels, 3);
    engine().close(*watch_);
}

TEST_F(WinsockWatches, ASocketThatIsClosedUnderItsWatchEndsIt) {
    const Op& op = engine().post(*watch_, OperationKind::zero_byte);
    engine().settle();
    close_handle();
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.code, WSAENOTSOCK);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(*watch_); }));
}

}  // namespace
}  // namespace iocp::contract

#endif
