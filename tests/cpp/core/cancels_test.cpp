// Cancels, tested without a port: which operations end at once, and which the kernel is asked to
// end (R31).
#include "core/cancels.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CancelsTest : public PartsTest {
protected:
    Cancels& cancels() { return parts().cancels; }
    // Makes an operation that the scripted kernel holds, at the head of its lane.
    Operation& started(Socket& socket, OperationKind kind) {
        Operation& op = posted(socket, kind);
        Lane& lane = socket.lane_of(op);
        EXPECT_EQ(parts().calls.start(*lane.head, 1).start, Start::pending);
        lane.started = 1;
        return op;
    }
    // Takes the kernel's answer to a cancel, as IoQueue does.
    void answered(Operation& op) {
        backend.deliver(op.id, -code_cancelled);
        Lane& lane = op.socket->lane_of(op);
        lane.started = 0;
        cancels().finish_cancelled(lane);
    }
    [[nodiscard]] unsigned asked(const Operation& op) {
        const Request* request = backend.request_of(op.id);
        return request == nullptr ? 0 : request->cancels;
    }
};

TEST_F(CancelsTest, AnOperationThatTheKernelHoldsIsAskedForOnce) {
    Socket& socket = open_socket();
    Operation& op = started(socket, OperationKind::receive);
    EXPECT_TRUE(cancels().cancel(op));
    EXPECT_FALSE(cancels().cancel(op));
    EXPECT_EQ(asked(op), 1U);
    EXPECT_FALSE(op.finished());
    EXPECT_THAT(records(), IsEmpty());
    answered(op);
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
}

TEST_F(CancelsTest, AnOperationThatWaitsInItsLaneEndsAtOnce) {
    Socket& socket = open_socket();
    Operation& first = started(socket, OperationKind::receive);
    Operation& second = posted(socket, OperationKind::receive);
    EXPECT_TRUE(cancels().cancel(second));
    EXPECT_TRUE(second.finished());
    EXPECT_EQ(asked(first), 0U);
    constexpr Effects left = effect::start_receiving | effect::sends_moved | effect::settle;
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, left}};
    EXPECT_EQ(effects(), expected);
    backend.deliver(first.id, 0);
}

TEST_F(CancelsTest, ACancelThatTheDeadlineAskedForIsATimeout) {
    Operation& op = posted(open_socket(), OperationKind::receive);
    op.timed_out = true;
    EXPECT_TRUE(cancels().cancel(op));
    EXPECT_EQ(op.error.fault, Fault::timed_out);
}

TEST_F(CancelsTest, AFinishedOperationIsNotCancelled) {
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::receive);
    parts().endings.finish(socket.receiving.pop(), {});
    EXPECT_FALSE(cancels().cancel(op));
    EXPECT_FALSE(op.error);
}

TEST_F(CancelsTest, ASendWhoseBytesWentHasWonTheRace) {
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::send);
    Releases::expect(op);
    parts().endings.finish(socket.sending.pop(), {});
    EXPECT_TRUE(cancels().cancel(op));
    EXPECT_FALSE(op.finished());
    parts().endings.releases().released(op);
    EXPECT_TRUE(op.finished());
    EXPECT_FALSE(op.error);
}

TEST_F(CancelsTest, ASendThatWasCutRefusesTheRestOfItsStream) {
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::send);
    const Operation& behind = posted(socket, OperationKind::send);
    parts().flow.advance(socket.sending, 7);
    EXPECT_TRUE(cancels().cancel(op));
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(op.transferred, 7U);
    EXPECT_TRUE(behind.finished());
    EXPECT_TRUE(socket.send_cut);
    EXPECT_EQ(parts().flow.bytes_to_send(), 0U);
}

TEST_F(CancelsTest, AllOperationsOfASocketAreCounted) {
    Socket& socket = open_socket();
    Operation& receive = started(socket, OperationKind::receive);
    posted(socket, OperationKind::receive);
    posted(socket, OperationKind::send);
    EXPECT_EQ(cancels().cancel_all(socket), 3U);
    EXPECT_EQ(cancels().cancel_all(socket), 0U);
    EXPECT_TRUE(socket.sending.idle());
    EXPECT_EQ(socket.receiving.head, &receive) << "it waits for its packet";
    answered(receive);
    EXPECT_TRUE(socket.idle());
}

TEST_F(CancelsTest, ALaneEndsInPostingOrderBehindItsRequest) {
    Socket& socket = open_socket();
    Operation& first = started(socket, OperationKind::receive);
    const Operation& second = posted(socket, OperationKind::receive);
    const Operation& third = posted(socket, OperationKind::receive);
    cancels().cancel_lane(socket.receiving);
    EXPECT_EQ(asked(first), 1U);
    EXPECT_FALSE(first.finished());
    const auto& records = parts().completions.records();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_EQ(records[0].op, &second);
    EXPECT_EQ(records[1].op, &third);
    answered(first);
}

TEST_F(CancelsTest, AnOperationOfAFailedSocketEndsWithTheFailure) {
    Socket& socket = open_socket();
    const Operation& op = posted(socket, OperationKind::receive);
    socket.failure = Error::of(Fault::timed_out, "the connection made no progress");
    cancels().cancel_lane(socket.receiving);
    EXPECT_EQ(op.error.fault, Fault::timed_out);
}

TEST_F(CancelsTest, ADisconnectIsDroppedButNotTheSendsBeforeIt) {
    Socket& socket = open_socket();
    const Operation& send = posted(socket, OperationKind::send);
    const Operation& disconnect = posted(socket, OperationKind::disconnect);
    cancels().drop_disconnect(socket);
    EXPECT_TRUE(disconnect.finished());
    EXPECT_FALSE(send.finished());
    cancels().drop_disconnect(socket);
    EXPECT_FALSE(send.finished());
}

TEST_F(CancelsTest, ADisconnectThatTheKernelHoldsIsAskedFor) {
    Socket& socket = open_socket();
    Operation& disconnect = started(socket, OperationKind::disconnect);
    cancels().drop_disconnect(socket);
    EXPECT_FALSE(disconnect.finished());
    EXPECT_EQ(asked(disconnect), 1U);
    answered(disconnect);
    EXPECT_TRUE(disconnect.finished());
}

TEST_F(CancelsTest, OnlyRequestsThatAreToEndAreAskedForAgain) {
    Operation& op = started(open_socket(), OperationKind::receive);
    Operation& other = started(open_socket(), OperationKind::receive);
    EXPECT_TRUE(cancels().cancel(op));
    cancels().ask_again();
    EXPECT_EQ(asked(op), 2U);
    EXPECT_EQ(asked(other), 0U);
    answered(op);
    backend.deliver(other.id, 0);
}

}  // namespace
}  // namespace iocp::scripted
