// Disconnects: connections that end while their socket stays open (R32).
#include "contract.hpp"

namespace iocp::contract {
namespace {

TEST_P(Systems, ADisconnectFollowsTheSendsAndKeepsTheSocket) {
    const auto [one, other] = engine().pair();
    const Op& sent = engine().send(*one, pattern(4 * mebibyte));
    const Op& op = engine().post(*one, OperationKind::disconnect);
    ASSERT_TRUE(op.accepted);
    EXPECT_EQ(op.outcome, Outcome::queued);
    EXPECT_TRUE(engine().send(*one, text("late")).refusal);
    EXPECT_TRUE(engine().post(*one, OperationKind::disconnect).refusal);
    EXPECT_EQ(read_exactly(*other, 4 * mebibyte), pattern(4 * mebibyte));
    const Op& end = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(end));
    EXPECT_EQ(end.transferred, 0U);
    EXPECT_TRUE(end.succeeded());
    engine().close(*other);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded()) << op.error.code;
    EXPECT_TRUE(sent.succeeded());
    EXPECT_EQ(one->state, SocketState::open);
    EXPECT_TRUE(engine().send(*one, text("late")).refusal);
}

TEST_P(Systems, WhatThePeerStillSaysIsReceivedDuringADisconnect) {
    const auto [one, other] = engine().pair();
    const Op& waits = engine().receive(*one, 100);
    const Op& op = engine().post(*one, OperationKind::disconnect);
    ASSERT_TRUE(op.accepted);
    const Op& end = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(end));
    EXPECT_EQ(end.transferred, 0U);
    engine().send(*other, text("goodbye"));
    engine().shutdown_sending(*other);
    ASSERT_TRUE(engine().finish_one(waits));
    EXPECT_EQ(taken(waits), text("goodbye"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
}

TEST_P(Systems, ADisconnectThatReusesMakesTheSocketConnectAgain) {
    Socket& listener = engine().listener();
    Socket& client = engine().open();
    for (const bool first : {true, false, true}) {
        const Op& accept = engine().post(listener, OperationKind::accept);
        const Op& reach = engine().connect(client, engine().name_of(listener));
        ASSERT_TRUE(engine().run_until([&] { return accept.finished() && reach.finished(); }));
        ASSERT_TRUE(reach.succeeded()) << reach.error.code;
        Socket& server = *accept.connection;
        engine().send(server, text("hello"));
        EXPECT_EQ(read_exactly(client, 5), text("hello"));
        if (!first) {
            engine().shutdown_sending(server);
        }
        engine().send(client, text("and back"), {.batched = true});
        const Op& op = engine().post(client, OperationKind::disconnect, {}, {.reuse = true});
        ASSERT_TRUE(op.accepted);
        EXPECT_TRUE(engine().receive(client, 10).refusal)
            << "the receive could take data of the next connection";
        EXPECT_EQ(read_exactly(server, 8), text("and back"));
        engine().close(server);
        ASSERT_TRUE(engine().finish_one(op));
        ASSERT_TRUE(op.succeeded()) << op.error.code;
        EXPECT_FALSE(client.connected);
        EXPECT_EQ(client.state, SocketState::open);
        if (!platform::connects_again()) {
            GTEST_SKIP() << "Wine 8.0: a reused socket is refused to ConnectEx (10056)";
        }
    }
}

// The peer has shut down its sending side and reads late. The disconnect must not complete before
// the peer has received all data.
TEST_P(Systems, AReuseWaitsUntilThePeerHasEverything) {
    if (!platform::connects_again()) {
        GTEST_SKIP() << "Wine 8.0: DisconnectEx does not wait for the peer";
    }
    const auto [one, other] = engine().pair([&](Socket& socket) {
        engine().set_option(socket, platform::option_receive_buffer, 4096);
        engine().set_option(socket, platform::option_send_buffer, 1 << 20);
    });
    engine().shutdown_sending(*other);
    const Op& end = engine().receive(*one, 10);
    ASSERT_TRUE(engine().finish_one(end));
    const std::size_t total = 200'000;
    const Op& sent = engine().send(*one, pattern(total));
    ASSERT_TRUE(engine().finish_one(sent));
    const Op& op = engine().post(*one, OperationKind::disconnect, {}, {.reuse = true});
    engine().settle(20);
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(read_exactly(*other, total), pattern(total));
    const Op& last = engine().receive(*other, 10);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(last.succeeded()) << "the end of the stream, and no reset";
    EXPECT_EQ(last.transferred, 0U);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
}

TEST_P(Systems, ADisconnectIsRefusedWhereThereIsNothingToEnd) {
    EXPECT_EQ(engine().post(engine().open(), OperationKind::disconnect).refusal.fault,
              Fault::argument);
    Socket& datagram = engine().bound(platform::type_datagram);
    EXPECT_EQ(engine().post(datagram, OperationKind::disconnect).refusal.fault, Fault::argument);
    const auto [one, other] = engine().pair();
    const Op& waits = engine().receive(*one, 10);
    EXPECT_EQ(engine().post(*one, OperationKind::disconnect, {}, {.reuse = true}).refusal.fault,
              Fault::argument);
    engine().send(*other, text("x"));
    ASSERT_TRUE(engine().finish_one(waits));
    const auto [two, peer] = engine().adopted_pair();
    if (two->family != family_inet) {
        EXPECT_EQ(engine().post(*two, OperationKind::disconnect, {}, {.reuse = true}).refusal.fault,
                  Fault::argument);
    }
    const Op& plain = engine().post(*two, OperationKind::disconnect);
    engine().close(*peer);
    ASSERT_TRUE(engine().finish_one(plain));
    EXPECT_TRUE(plain.succeeded()) << plain.error.code;
}

TEST_P(Systems, ADisconnectThatWaitsCanBeCancelled) {
    if (!platform::connects_again()) {
        GTEST_SKIP() << "Wine 8.0: DisconnectEx does not wait for the peer";
    }
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*one, OperationKind::disconnect);
    engine().settle();
    EXPECT_FALSE(op.finished());
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_TRUE(engine().send(*one, text("late")).refusal) << "the end of the stream has gone";
    const Op& late = engine().post(*one, OperationKind::disconnect, {}, {.timeout = 1'000'000});
    ASSERT_TRUE(engine().finish_one(late));
    EXPECT_EQ(late.error.fault, Fault::timed_out);
    const Op& last = engine().post(*one, OperationKind::disconnect);
    engine().close(*other);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(last.succeeded());
}

TEST_P(Systems, ACloseOvertakesADisconnect) {
    const auto [one, other] = engine().pair();
    const Op& big = engine().send(*one, pattern(16 * mebibyte));
    const Op& behind = engine().post(*one, OperationKind::disconnect);
    engine().close(*one, 60'000'000'000);
    ASSERT_TRUE(engine().finish_one(behind));
    EXPECT_EQ(behind.error.fault, Fault::cancelled);
    EXPECT_EQ(read_exactly(*other, 16 * mebibyte), pattern(16 * mebibyte));
    ASSERT_TRUE(engine().finish_one(big));
    EXPECT_TRUE(big.succeeded());
    ASSERT_TRUE(engine().run_until([&, at = one] { return engine().is_closed(*at); }));
    const auto [two, peer] = engine().pair();
    const Op& begun = engine().post(*two, OperationKind::disconnect);
    engine().close(*two, 60'000'000'000);
    ASSERT_TRUE(engine().finish_one(begun));
    ASSERT_TRUE(engine().run_until([&, at = two] { return engine().is_closed(*at); }));
    (void)peer;
}

}  // namespace
}  // namespace iocp::contract
