// The packets of requests: exactly one completion, whether Winsock queues a packet or not.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockPackets : public WinsockSeam {};

// Exactly one completion, whether or not a request that finishes at once queues a packet.
TEST_F(WinsockPackets, WithoutSkippingEveryRequestHasItsPacket) {
    make({}, false);
    const auto [one, other] = engine().pair();
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, OperationKind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
        EXPECT_TRUE(sent.succeeded());
        const Op& got = engine().receive(*other, 10);
        ASSERT_TRUE(engine().finish_one(got));
        EXPECT_TRUE(got.succeeded());
    }
    EXPECT_EQ(port().figures().counts().late, 0U);
}

TEST_F(WinsockPackets, WhatFinishesAtOnceQueuesNoPacket) {
    const auto [one, other] = engine().pair();
    const std::uint64_t before = port().figures().counts().packets;
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, OperationKind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
    }
    EXPECT_EQ(port().figures().counts().packets, before);
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

// A receive that returns WSAEMSGSIZE at once still queues a packet. The backend drops that packet,
// and does not mistake the next receive's packet for it.
TEST_F(WinsockPackets, ATruncatedDatagramCompletesOnce) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    for (int i = 0; i < 50; ++i) {
        const Op& waits = engine().receive(other, 4);
        const Op& second = engine().receive(other, 4);  // starts when the first has ended
        engine().send(one, Bytes(100, std::byte{5}));
        engine().send(one, Bytes(100, std::byte{6}));
        ASSERT_TRUE(engine().finish_one(waits));
        ASSERT_TRUE(engine().finish_one(second));
        EXPECT_EQ(waits.transferred, 4U);
        EXPECT_EQ(second.transferred, 4U);
        EXPECT_EQ(second.memory.front(), std::byte{6});
    }
    EXPECT_EQ(port().figures().counts().late, 0U);
}

TEST_F(WinsockPackets, ThePacketOfAReceiveThatWasCutAtOnceIsSwallowed) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    script.cut_receives = 1;
    const Op& cut = engine().receive(other, 4);
    ASSERT_TRUE(engine().finish_one(cut));
    EXPECT_TRUE(cut.succeeded());
    EXPECT_EQ(cut.transferred, 4U);
    const Op& next = engine().receive(other, 100);
    const std::uint64_t packets = port().figures().counts().packets;
    engine().send(one, Bytes(3, std::byte{1}));  // completes the request of `cut`
    engine().settle();
    EXPECT_FALSE(next.finished());
    EXPECT_EQ(port().figures().counts().packets, packets);
    engine().send(one, Bytes(50, std::byte{2}));
    ASSERT_TRUE(engine().finish_one(next));
    EXPECT_EQ(next.transferred, 50U);
    EXPECT_EQ(port().figures().counts().late, 0U);
}

// Wine 8.0 may lose the send of a file when the thread that posted it ends, and does not report how
// much was sent. So the send fails, and no other send may follow.
TEST_F(WinsockPackets, AFileThatIsLostWithItsThreadEndsTheSocket) {
    make({}, false);
    const auto [one, other] = engine().pair();
    const Handle file = platform::make_file(Bytes(100, std::byte{4}));
    script.lose_files = 1;
    const Op& op = engine().send_file(*one, file, 0, 100);
    platform::close_file(file);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.code, WSAECONNABORTED);
    EXPECT_TRUE(engine().run_until([&, at = one] { return engine().is_closed(*at); }));
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

}  // namespace
}  // namespace iocp::contract

#endif
