// Errors of single Winsock calls: lack of a resource, resets, and ICMP's answers to datagrams.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockErrors : public WinsockSeam {};

class Refusals : public WinsockSeam, public ::testing::WithParamInterface<int> {};

// R08, R10: every error by which Windows reports a lack of a resource.
TEST_P(Refusals, AReceiveIsRefusedAndMayBePostedAgain) {
    const auto [one, other] = engine().pair();
    script.code = GetParam();
    script.fail_receives = 1;
    const Op& refused = engine().receive(*other, 4096);
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().charged(), 0U);
    const Op& again = engine().receive(*other, 4096);
    engine().send(*one, Bytes(3, std::byte{7}));
    ASSERT_TRUE(engine().finish_one(again));
    EXPECT_TRUE(again.succeeded());
    EXPECT_EQ(again.transferred, 3U);
}

TEST_P(Refusals, ASendIsRefusedAndMayBePostedAgain) {
    const auto [one, other] = engine().pair();
    script.code = GetParam();
    script.fail_sends = 1;
    const Op& refused =
        engine().post(*one, OperationKind::send, Bytes(5, std::byte{1}), {.batched = true});
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().charged(), 0U);
    const Op& again =
        engine().post(*one, OperationKind::send, Bytes(5, std::byte{2}), {.batched = true});
    ASSERT_TRUE(engine().finish_one(again));
    EXPECT_TRUE(again.succeeded());
    const Op& got = engine().receive(*other, 16);
    ASSERT_TRUE(engine().finish_one(got));
    EXPECT_EQ(got.transferred, 5U);
}

TEST_P(Refusals, ASocketIsRefused) {
    script.code = GetParam();
    script.fail_sockets = 1;
    Socket* socket = nullptr;
    const Error error =
        engine().locked([&] { return port().sockets().open(AF_INET, SOCK_STREAM, 0, socket); });
    EXPECT_EQ(error.fault, Fault::resource);
    EXPECT_EQ(error.code, GetParam());
    EXPECT_EQ(socket, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Codes, Refusals,
                         ::testing::Values(WSAENOBUFS, WSAEMFILE, ERROR_NO_SYSTEM_RESOURCES,
                                           ERROR_NOT_ENOUGH_QUOTA, ERROR_WORKING_SET_QUOTA,
                                           WSA_NOT_ENOUGH_MEMORY),
                         [](const auto& code) { return "Code" + std::to_string(code.param); });

// R05: a reset ends its socket and everything that belongs to it.
TEST_F(WinsockErrors, AResetOfOneReceiveEndsTheSocket) {
    const auto [one, other] = engine().pair();
    const Op& first = engine().receive(*other, 64);
    const Op& second = engine().receive(*other, 64);
    engine().settle();
    script.code = WSAECONNRESET;
    script.fail_receives = 1;
    engine().send(*one, Bytes(4, std::byte{1}));  // completes the first receive, starts the second
    ASSERT_TRUE(engine().finish_one(first));
    ASSERT_TRUE(engine().finish_one(second));
    EXPECT_EQ(second.error.code, WSAECONNRESET);
    EXPECT_TRUE(engine().run_until([&, at = other] { return engine().is_closed(*at); }));
    EXPECT_EQ(engine().charged(), 0U);
}

// ICMP's answer to an earlier datagram fails one receive with WSAECONNREFUSED. It ends neither the
// socket nor the next receive.
TEST_F(WinsockErrors, ARefusedDatagramIsToldAndReceivingGoesOn) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    script.code = WSAECONNRESET;  // Windows' code for ICMP's answer
    for (int i = 0; i < 3; ++i) {
        script.fail_receives = 1;
        const Op& told = engine().receive(other, 100);
        ASSERT_TRUE(engine().finish_one(told));
        EXPECT_EQ(told.error.code, WSAECONNREFUSED);
        EXPECT_EQ(told.error.fault, Fault::system);
        EXPECT_EQ(other.state, SocketState::open);
        const Op& next = engine().receive(other, 100);
        engine().send(one, Bytes(7, std::byte{3}));
        ASSERT_TRUE(engine().finish_one(next));
        EXPECT_TRUE(next.succeeded());
        EXPECT_EQ(next.transferred, 7U);
    }
    EXPECT_EQ(engine().charged(), 0U);
}

}  // namespace
}  // namespace iocp::contract

#endif
