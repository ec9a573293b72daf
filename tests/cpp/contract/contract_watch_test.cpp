// Watches: readiness of a handle that stays the caller's.
#include "contract.hpp"

namespace iocp::contract {
namespace {

class Watches : public Contract {
protected:
    // Watches one end of a connection; `peer_` is the other end.
    void SetUp() override {
        Contract::SetUp();
        if (IsSkipped()) {
            return;
        }
        Handle other = no_handle;
        ASSERT_TRUE(platform::socket_pair(handle_, other));
        peer_ = &engine().adopt(other);
    }
    void TearDown() override {
        if (handle_ != no_handle) {
            platform::close_handle(handle_);
        }
        Contract::TearDown();
    }
    Socket& watch() {
        Socket* socket = nullptr;
        EXPECT_FALSE(engine().locked([&] { return port().sockets().watch(handle_, socket); }));
        return *socket;
    }

    Handle handle_{no_handle};
    Socket* peer_{nullptr};
};

TEST_P(Watches, AWaitEndsWithDataAndLocksNothing) {
    Socket& socket = watch();
    const Op& op = engine().post(socket, OperationKind::zero_byte);
    engine().settle();
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(engine().charged(), 0U);
    engine().send(*peer_, pattern(3));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    const Op& again = engine().post(socket, OperationKind::zero_byte);
    ASSERT_TRUE(engine().finish_one(again)) << "the data is still there";
    const Op& room = engine().post(socket, OperationKind::writable);
    ASSERT_TRUE(engine().finish_one(room));
    EXPECT_TRUE(room.succeeded());
    engine().close(socket);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(socket); }));
}

TEST_P(Watches, TheEndOfThePeerEndsAWait) {
    Socket& socket = watch();
    const Op& op = engine().post(socket, OperationKind::zero_byte);
    engine().settle();
    EXPECT_FALSE(op.finished());
    engine().close(*peer_);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    engine().close(socket);
}

TEST_P(Watches, ACancelledWaitLeavesTheHandle) {
    for (int i = 0; i < 20; ++i) {
        Socket& socket = watch();
        const Op& one = engine().post(socket, OperationKind::zero_byte);
        engine().settle();
        if (i % 2 == 0) {
            EXPECT_TRUE(engine().cancel(one));
        }
        engine().close(socket);
        ASSERT_TRUE(engine().finish_one(one));
        EXPECT_EQ(one.error.fault, Fault::cancelled);
        ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(socket); }));
    }
    Socket& mine = engine().adopt(handle_);
    handle_ = no_handle;
    engine().send(*peer_, pattern(3));
    EXPECT_EQ(read_exactly(mine, 3), pattern(3)) << "the watches have left it as it was";
    engine().close(mine);
}

// No handle stands behind a modelled socket.
INSTANTIATE_TEST_SUITE_P(Backends, Watches, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace iocp::contract
