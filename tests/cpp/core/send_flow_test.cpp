// SendFlow, tested without a port: strategies, caps, pauses and flushes.
#include "core/send_flow.hpp"

#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

class SendFlowTest : public PartsTest {
protected:
    SendFlow& flow() { return parts().flow; }
};

TEST_F(SendFlowTest, ASenderIsNotifiedInTurnAndNeverTwice) {
    Socket& socket = open_socket();
    socket.marks = {.high = static_cast<std::uint32_t>(2 * page()),
                    .low = static_cast<std::uint32_t>(page()),
                    .cap = 0};
    flow().notify(socket);
    EXPECT_TRUE(records().empty());
    posted(socket, OperationKind::send, 2);
    flow().notify(socket);
    EXPECT_TRUE(records().empty()) << "the mark is reached, not passed";
    posted(socket, OperationKind::send, 1);
    flow().notify(socket);
    flow().notify(socket);
    EXPECT_EQ(records(), std::vector{Ready::What::pause_sends});
    socket.sending.pop();
    flow().notify(socket);
    flow().notify(socket);
    EXPECT_EQ(records(), std::vector{Ready::What::resume_sends});
    EXPECT_EQ(parts().metrics.counts.pauses, 1U);
}

TEST_F(SendFlowTest, AFailedSocketIsNotNotified) {
    Socket& socket = open_socket();
    socket.marks.high = 1;
    posted(socket, OperationKind::send);
    socket.failure = Error::of(Fault::cancelled, "the socket failed");
    flow().notify(socket);
    EXPECT_TRUE(records().empty());
}

TEST_F(SendFlowTest, TheCapRefusesWhatWouldPassIt) {
    Socket& socket = open_socket();
    socket.marks.cap = static_cast<std::uint32_t>(2 * page());
    posted(socket, OperationKind::send, 1);
    EXPECT_FALSE(flow().prepare(operation(socket, OperationKind::send, 1)));
    EXPECT_EQ(flow().prepare(operation(socket, OperationKind::send, 2)).fault, Fault::budget);
    EXPECT_EQ(parts().metrics.counts.refusals, 1U);
}

TEST_F(SendFlowTest, TheStrategyDecidesHowASendGoes) {
    Socket& socket = open_socket();
    EXPECT_FALSE(flow().set_strategy(socket, SendStrategy::when_writable));
    Operation& readiness_only = operation(socket, OperationKind::send);
    EXPECT_FALSE(flow().prepare(readiness_only));
    EXPECT_TRUE(readiness_only.readiness_only);
    EXPECT_FALSE(flow().set_strategy(socket, SendStrategy::direct));
    Operation& direct = operation(socket, OperationKind::send);
    EXPECT_FALSE(flow().prepare(direct));
    EXPECT_TRUE(direct.direct);
    EXPECT_FALSE(direct.readiness_only);
}

TEST_F(SendFlowTest, ABackendThatSendsNothingDirectRefusesTheStrategy) {
    backend.sends_direct = false;
    Socket& socket = open_socket();
    EXPECT_EQ(flow().set_strategy(socket, SendStrategy::direct).fault, Fault::argument);
    EXPECT_EQ(socket.send_strategy, SendStrategy::buffered);
}

TEST_F(SendFlowTest, FlushesComeInOrderAndASocketOnce) {
    Socket& one = open_socket();
    Socket& two = open_socket();
    Socket& gone = open_socket();
    for (Socket* socket : {&two, &gone, &one, &two}) {
        flow().flush_later(*socket);
    }
    flow().forget(gone);
    EXPECT_TRUE(flow().awaits_flush(one));
    EXPECT_EQ(&flow().next_to_flush(), &two);
    EXPECT_EQ(&flow().next_to_flush(), &one);
    EXPECT_FALSE(flow().any_to_flush());
}

}  // namespace
}  // namespace iocp::scripted
