// Sockets whose descriptor outlives an error: the owner of the connection closes it.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class KeepingOpenTest : public CoreTest {
protected:
    Socket& kept() {
        Socket& socket = open_socket();
        locked([&] { port().sockets().keep_open(socket); });
        return socket;
    }
    void fail(Socket& socket) {
        const Posted& op = receive(socket);
        backend().deliver(op.id, -code_fatal);
        turns(2);
    }
};

TEST_F(KeepingOpenTest, AnErrorLeavesTheDescriptorOpenUntilTheClose) {
    Socket& socket = kept();
    const Handle handle = socket.handle;
    fail(socket);
    EXPECT_TRUE(backend().is_open(handle));
    EXPECT_THAT(closed, IsEmpty());
    ASSERT_THAT(ended, SizeIs(1));
    EXPECT_EQ(ended[0].failure.code, code_fatal);
    EXPECT_EQ(ended[0].handle, handle);
    EXPECT_TRUE(send(socket).refusal) << "it has ended";
    turns(2);
    EXPECT_THAT(ended, SizeIs(1)) << "told once";
    close(socket);
    EXPECT_FALSE(backend().is_open(handle));
    turn();
    EXPECT_THAT(closed, SizeIs(1));
}

TEST_F(KeepingOpenTest, AnAbortClosesItToo) {
    Socket& socket = kept();
    fail(socket);
    abort(socket);
    EXPECT_THAT(backend().calls_on(ended[0].handle), Contains("close"));
    turn();
    EXPECT_THAT(closed, SizeIs(1));
}

TEST_F(KeepingOpenTest, ACloseOfAnOpenSocketIsNotHeldUp) {
    Socket& socket = kept();
    close(socket);
    turns(2);
    EXPECT_THAT(closed, SizeIs(1));
    EXPECT_THAT(ended, IsEmpty());
}

TEST_F(KeepingOpenTest, ThePortsEndClosesIt) {
    Socket& socket = kept();
    fail(socket);
    EXPECT_THAT(calls(socket), Not(Contains("close")));  // TearDown() expects no open handle
}

TEST_F(KeepingOpenTest, AcceptedConnectionsBringTheirPeersAddress) {
    Socket& listener = open_socket();
    const Posted& accepts = post(listener, OperationKind::accept_each);
    backend().on(listener).starts.push_back(connection(backend().make_handle()));
    backend().deliver_ready(accepts.id);
    turn();
    EXPECT_EQ(accepts.peers, std::vector<std::size_t>{16});
}

}  // namespace
}  // namespace iocp::scripted
