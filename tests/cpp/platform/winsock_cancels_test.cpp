// Cancels: the kernel has a cancelled request until its packet arrives, and the system may lose the
// cancel.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockCancels : public WinsockSeam {};

// R06, R09: the kernel owns the buffer until the packet arrives, even after a cancel.
TEST_F(WinsockCancels, ACancelledReceiveIsHeldAndChargedUntilItsPacket) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, system_page_size());
    engine().settle();
    const std::uint64_t charged = engine().charged();
    EXPECT_GT(charged, 0U);
    script.deaf_to_cancels = true;
    EXPECT_TRUE(engine().cancel(op));
    engine().settle();
    EXPECT_GE(script.cancels, 1);
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(op.leases_given_back, 0);
    EXPECT_EQ(engine().charged(), charged);
    EXPECT_EQ(engine().view().cancelling, charged);
    engine().send(*one, Bytes(5, std::byte{1}));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded()) << "the cancel lost the race";
    EXPECT_EQ(op.transferred, 5U);
    EXPECT_EQ(engine().charged(), 0U);
}

TEST_F(WinsockCancels, ASocketIsNotClosedBeforeItsLastPacket) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 100);
    engine().settle();
    script.deaf_to_cancels = true;
    engine().close(*other);
    engine().settle();
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(other->state, SocketState::cancelling);
    EXPECT_FALSE(engine().is_closed(*other));
    engine().send(*one, Bytes(5, std::byte{1}));
    ASSERT_TRUE(engine().finish_one(op));
    ASSERT_TRUE(engine().run_until([&, at = other] { return engine().is_closed(*at); }));
}

// Wine 8.0 loses a cancel that comes while it continues a partly finished request.
class LostCancels : public WinsockSeam {
protected:
    // Posts an operation, and waits until the kernel has it. The next two cancels will be lost.
    const Op& waiting(Socket& socket, OperationKind kind = OperationKind::receive) {
        const Op& op = engine().post(socket, kind, Bytes(kind == OperationKind::receive ? 64 : 0));
        engine().settle();
        EXPECT_FALSE(op.finished());
        script.lose_cancels = 2;
        return op;
    }
    void expect_cancelled(const Op& op) {
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_EQ(op.error.fault, Fault::cancelled);
        EXPECT_EQ(script.lose_cancels, 0);
    }
};

TEST_F(LostCancels, AreRepeated) {
    const auto [one, other] = engine().pair();
    for (const OperationKind kind : {OperationKind::receive, OperationKind::zero_byte}) {
        const Op& op = waiting(*other, kind);
        EXPECT_TRUE(engine().cancel(op));
        expect_cancelled(op);
    }
    (void)one;
}

// A lost cancel is repeated although a wake ends every wait before its time limit.
TEST_F(LostCancels, AreRepeatedUnderTraffic) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().run_until([&] {
        port().backend().wake();
        return op.finished();
    }));
    expect_cancelled(op);
    (void)one;
}

// A cancel during an unlimited wait ends that wait. So the next wait is short, and the lost cancel
// is repeated.
TEST_F(LostCancels, AreRepeatedAfterTheWaitThatTheyMet) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    auto& backend = dynamic_cast<IocpBackend&>(port().backend());
    engine().locked([&] { backend.publish(); });
    EXPECT_TRUE(engine().cancel(op));
    backend.wait(-1);
    std::vector<Packet> packets;
    engine().locked([&] { backend.reap(packets); });
    EXPECT_TRUE(packets.empty());
    expect_cancelled(op);
    (void)one;
}

// A shutdown for receiving cancels the pending receive, which then ends without an error.
TEST_F(LostCancels, OfAShutdownAreRepeated) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    EXPECT_FALSE(
        engine().locked([&, at = other] { return port().sockets().shutdown(*at, true, false); }));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.transferred, 0U);
    EXPECT_EQ(script.lose_cancels, 0);
    (void)one;
}

}  // namespace
}  // namespace iocp::contract

#endif
