// If a send meets an error before a receive does, the data that has arrived by then is still
// received (R05).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LastWordsTest : public CoreTest {};

TEST_F(LastWordsTest, WhatHasArrivedComesBeforeTheEnd) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket, {.length = 10});
    const Posted& queued = send(socket, {.length = 10});
    backend().unread = 5;
    backend().deliver(s.id, -code_fatal);
    turn();
    EXPECT_EQ(s.error.code, code_fatal);
    EXPECT_EQ(queued.error.code, code_fatal);
    EXPECT_THAT(closed, IsEmpty());
    EXPECT_EQ(send(socket).refusal.code, code_fatal) << "nothing more is sent";
    backend().unread = 0;
    backend().deliver(r.id, 5);
    turns(2);
    EXPECT_TRUE(r.succeeded());
    EXPECT_EQ(r.transferred, 5U);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(LastWordsTest, WithNothingToReadTheSocketClosesAtOnce) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket, {.length = 10});
    backend().deliver(s.id, -code_fatal);
    turns(2);
    EXPECT_EQ(r.error.code, code_fatal);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(LastWordsTest, TheSilenceAfterTheErrorIsNoEndOfTheStream) {
    Socket& socket = open_socket();
    const Posted& r =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    const Posted& s = send(socket, {.length = 10});
    turn();  // the flush starts the send
    backend().unread = 5;
    backend().deliver(s.id, -code_fatal);
    turn();
    backend().deliver(r.id, 5);
    turn();
    backend().unread = 0;
    backend().deliver(r.id, 0);
    turns(2);
    EXPECT_THAT(r.data, ElementsAre(5U));
    EXPECT_EQ(r.ends, 0);
    EXPECT_EQ(r.error.code, code_fatal);
    ASSERT_EQ(closed.size(), 1U);
}

TEST_F(LastWordsTest, AnErrorOfSendingAloneLeavesReceivesToTheirOwnEnd) {
    Socket& socket = open_socket();
    const Posted& r =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    const Posted& s = send(socket, {.length = 10});
    turn();  // the flush starts the send
    backend().deliver(s.id, -code_send_ended);
    turns(3);
    EXPECT_EQ(s.error.code, code_send_ended);
    EXPECT_THAT(closed, IsEmpty());
    backend().deliver(r.id, 7);
    turns(2);
    EXPECT_THAT(closed, IsEmpty());
    EXPECT_EQ(send(socket).refusal.code, code_send_ended);
    backend().deliver(r.id, 0);
    turns(2);
    EXPECT_THAT(r.data, ElementsAre(7U));
    EXPECT_EQ(r.ends, 1);
    EXPECT_FALSE(r.error);
    ASSERT_EQ(closed.size(), 1U) << "both directions are over";
    EXPECT_EQ(closed[0].failure.code, code_send_ended);
}

TEST_F(LastWordsTest, AResetAfterThatIsWhatTheSocketEndsWith) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket, {.length = 10});
    backend().deliver(s.id, -code_send_ended);
    turn();
    backend().deliver(r.id, -code_fatal);
    turns(2);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

}  // namespace
}  // namespace iocp::scripted
