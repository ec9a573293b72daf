// Releases, tested without a port: a direct send ends only when the kernel has released its memory
// (R03).
#include "core/releases.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReleasesTest : public PartsTest {
protected:
    Releases& releases() { return parts().endings.releases(); }
    // Makes an operation that is accepted, charged for a page, and at the end of its lane.
    Operation& charged(Socket& socket, OperationKind kind) {
        Operation& op = posted(socket, kind);
        EXPECT_FALSE(parts().admission.charge(op, false));
        return op;
    }
    // Makes a send that has left its lane, and whose `requests` requests still owe their releases.
    Operation& gone(Socket& socket, int requests) {
        Operation& op = charged(socket, OperationKind::send);
        for (int i = 0; i < requests; ++i) {
            Releases::expect(op);
        }
        socket.sending.unlink(op);
        (void)effects();
        return op;
    }
    [[nodiscard]] std::size_t pages() { return parts().ledger.now_pages(); }
};

TEST_F(ReleasesTest, AnOperationWithoutReleasesCompletesAtOnce) {
    Socket& socket = open_socket();
    Operation& op = charged(socket, OperationKind::receive);
    releases().end(socket.receiving.pop());
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(pages(), 0U);
    EXPECT_EQ(releases().unreleased(), 0U);
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
}

TEST_F(ReleasesTest, ASendKeepsItsChargeUntilItsLastRelease) {
    Socket& socket = open_socket();
    Operation& op = gone(socket, 2);
    releases().end(op);
    releases().released(op);
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(pages(), 1U);
    EXPECT_EQ(releases().unreleased(), 1U);
    EXPECT_EQ(socket.releasing, 1U);
    EXPECT_THAT(effects(), IsEmpty());
    releases().released(op);
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(pages(), 0U);
    EXPECT_EQ(releases().unreleased(), 0U);
    EXPECT_EQ(socket.releasing, 0U);
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::sends_moved}};
    EXPECT_EQ(effects(), expected);
}

TEST_F(ReleasesTest, TheLastReleaseOfAClosedSocketHandsOutItsEnd) {
    Socket& socket = open_socket();
    Operation& op = gone(socket, 1);
    releases().end(op);
    socket.state = SocketState::closed;
    releases().released(op);
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::hand_out}};
    EXPECT_EQ(effects(), expected);
}

TEST_F(ReleasesTest, AReleaseBeforeTheEndIsNotWaitedForAgain) {
    Socket& socket = open_socket();
    Operation& op = gone(socket, 1);
    releases().released(op);
    EXPECT_FALSE(op.finished());
    EXPECT_THAT(effects(), IsEmpty());
    releases().end(op);
    EXPECT_TRUE(op.finished());
}

TEST_F(ReleasesTest, AReleaseThatNoRequestOwesIsLate) {
    Operation& op = posted(open_socket(), OperationKind::send);
    releases().released(op);
    EXPECT_EQ(parts().metrics.counts.late, 1U);
    EXPECT_FALSE(op.finished());
}

TEST_F(ReleasesTest, LostOnesEndTheirSendsAndResetTheirConnections) {
    Socket& socket = open_socket();
    Socket& other = open_socket();
    Operation& op = gone(socket, 2);
    releases().end(op);
    Operation& unaffected = posted(other, OperationKind::send);
    (void)effects();
    releases().lose();
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(pages(), 0U);
    EXPECT_EQ(releases().unreleased(), 0U);
    EXPECT_THAT(backend.calls_on(socket.handle), ElementsAre("reset"));
    EXPECT_EQ(socket.failure.fault, Fault::cancelled);
    EXPECT_FALSE(unaffected.finished());
    const std::vector<std::pair<Socket*, Effects>> expected{
        {&socket, effect::fail | effect::sends_moved}};
    EXPECT_EQ(effects(), expected);
}

TEST_F(ReleasesTest, ALostOneResetsTheConnectionOfASendInItsLane) {
    Socket& socket = open_socket();
    Operation& op = posted(socket, OperationKind::send);
    Releases::expect(op);
    releases().lose();
    EXPECT_FALSE(op.finished()) << "it ends with its socket";
    EXPECT_EQ(op.releases, 0U);
    EXPECT_THAT(backend.calls_on(socket.handle), ElementsAre("reset"));
    const std::vector<std::pair<Socket*, Effects>> expected{{&socket, effect::fail}};
    EXPECT_EQ(effects(), expected);
}

}  // namespace
}  // namespace iocp::scripted
