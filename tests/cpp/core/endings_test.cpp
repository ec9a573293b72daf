// Endings, tested without a port: the results of operations, and what else an end changes (R03,
// R05).
#include "core/endings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Error refused = Error::of(Fault::cancelled, "the operation was cancelled");

class EndingsTest : public PartsTest {
protected:
    Endings& endings() { return parts().endings; }
    // Takes the connect out of its lane, and marks its socket as not connected.
    Operation& failed_connect(Socket& socket) {
        socket.connected = false;
        return socket.sending.pop();
    }
};

TEST_F(EndingsTest, AnEndIsTheErrorTheRefundAndOneRecord) {
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::receive, 3);
    EXPECT_FALSE(parts().admission.charge(op, false));
    endings().finish(socket.receiving.pop(), refused);
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(parts().ledger.now_pages(), 0U);
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
}

TEST_F(EndingsTest, AnEndDisarmsTheDeadline) {
    Socket& socket = open_socket();
    Operation& op = operation(socket, OperationKind::receive);
    parts().queue.accept(op, Outcome::pending, 1'000);
    EXPECT_FALSE(parts().timers.empty());
    endings().finish(op, {});
    EXPECT_TRUE(parts().timers.empty());
}

TEST_F(EndingsTest, BytesThatWillNotBeSentAreNoLongerCounted) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::send, 2);
    posted(open_socket(), OperationKind::send, 1);
    EXPECT_EQ(parts().flow.bytes_to_send(), 3 * page());
    endings().finish(socket.sending.pop(), refused);
    EXPECT_EQ(parts().flow.bytes_to_send(), page());
}

TEST_F(EndingsTest, ARestIsRefusedInPostingOrder) {
    Socket& socket = open_socket();
    const Operation& first = posted(socket, OperationKind::send);
    const Operation& second = posted(socket, OperationKind::send);
    endings().refuse_rest(socket.sending, refused);
    EXPECT_TRUE(socket.sending.idle());
    const auto& records = parts().completions.records();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_EQ(records[0].op, &first);
    EXPECT_EQ(records[1].op, &second);
}

TEST_F(EndingsTest, AConnectThatTheSystemEndedIsNotWithdrawn) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::connect);
    endings().end_connect(socket.sending, failed_connect(socket), refused, true);
    EXPECT_THAT(backend.calls_on(socket.handle), IsEmpty());
    EXPECT_THAT(effects(), IsEmpty()) << "the socket may connect again";
}

TEST_F(EndingsTest, AConnectTakesTheSendsBehindItAlong) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::connect);
    const Operation& send = posted(socket, OperationKind::send);
    const Operation& again = posted(socket, OperationKind::connect);
    const Operation& later = posted(socket, OperationKind::send);
    endings().end_connect(socket.sending, failed_connect(socket), refused, false);
    EXPECT_THAT(backend.calls_on(socket.handle), ElementsAre("withdraw"));
    EXPECT_TRUE(send.finished());
    EXPECT_EQ(send.error.fault, Fault::cancelled);
    EXPECT_FALSE(again.finished());
    EXPECT_FALSE(later.finished()) << "it waits for the next connect";
}

TEST_F(EndingsTest, AConnectFailsASocketWhoseReceivesNothingCouldReach) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::connect);
    const Operation& receive = posted(socket, OperationKind::receive);
    endings().end_connect(socket.sending, failed_connect(socket), refused, true);
    EXPECT_FALSE(receive.finished()) << "it ends with its socket";
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::fail}};
    EXPECT_EQ(effects(), expected);
}

TEST_F(EndingsTest, ASocketThatCannotConnectAgainFails) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::connect);
    backend.withdraw_error = code_plain;
    endings().end_connect(socket.sending, failed_connect(socket), refused, false);
    EXPECT_EQ(socket.failure.code, code_plain);
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::fail}};
    EXPECT_EQ(effects(), expected);
}

TEST_F(EndingsTest, AConnectOnAConnectedSocketEndsAlone) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::connect);
    const Operation& send = posted(socket, OperationKind::send);
    endings().end_connect(socket.sending, socket.sending.pop(), refused, false);
    EXPECT_THAT(backend.calls_on(socket.handle), IsEmpty());
    EXPECT_FALSE(send.finished());
}

TEST_F(EndingsTest, AFailureIsAReceivesOnlyIfItConcernsReceiving) {
    Socket& socket = open_socket();
    const Operation& send = operation(socket, OperationKind::send);
    const Operation& receive = operation(socket, OperationKind::receive);
    EXPECT_FALSE(Endings::fails(send));
    socket.failure = refused;
    EXPECT_TRUE(Endings::fails(send));
    EXPECT_TRUE(Endings::fails(receive));
    socket.send_broken = true;
    EXPECT_TRUE(Endings::fails(send));
    EXPECT_FALSE(Endings::fails(receive));
    socket.send_broken = false;
    socket.gave_up = true;
    EXPECT_FALSE(Endings::fails(receive));
}

}  // namespace
}  // namespace iocp::scripted
