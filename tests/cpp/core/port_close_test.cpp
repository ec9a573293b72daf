// The end of a port: its close completes every operation, and terminate() takes the last packets.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class PortCloseTest : public CoreTest {
protected:
    // Leaves operations of most kinds outstanding, and sockets that close behind a send.
    void post_everything() {
        for (int i = 0; i < 3; ++i) {
            Socket& socket = open_socket();
            receive(socket);
            receive(socket);
            send(socket);
            send(socket, {.timeout = 1'000'000});
            post(open_socket(), OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
            post(open_socket(), OperationKind::receive_each);
            post(open_socket(), OperationKind::accept_each);
            post(open_socket(), OperationKind::zero_byte);
            post(open_socket(), OperationKind::connect);
            send(open_socket(), {.batched = true});
            Socket& draining = open_socket();
            send(draining);
            close(draining, 1'000'000'000);
        }
    }
};

TEST_F(PortCloseTest, WithEverythingOutstandingCompletesEverything) {
    post_everything();
    EXPECT_GT(charged(), 0U);
    finish();
}

TEST_F(PortCloseTest, LetsQueuedSendsGoOut) {
    Socket& socket = open_socket();
    const Posted& s = send(socket, {.length = 10});
    const Posted& r = receive(open_socket());
    locked([&] { port().begin_close(1'000'000); });
    turns(2);
    EXPECT_TRUE(r.completed());
    EXPECT_EQ(s.completions, 0);
    backend().deliver(s.id, 10);
    turns(2);
    EXPECT_TRUE(s.succeeded());
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

TEST_F(PortCloseTest, TerminateTakesTheLastPacketOfAll) {
    post_everything();
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(port().sockets().open_count(), 0U);
    EXPECT_EQ(charged(), 0U);
    EXPECT_TRUE(backend().held().empty());
}

TEST_F(PortCloseTest, TerminateEndsDrains) {
    Socket& socket = open_socket();
    send(socket);
    close(socket, 1'000'000'000'000'000);
    EXPECT_TRUE(port().terminate());
}

TEST_F(PortCloseTest, TerminateClosesConnectionsThatNobodyTook) {
    Socket& listener = open_socket();
    const Posted& op = post(listener, OperationKind::accept_each);
    backend().on(listener).starts = {connection(backend().make_handle()), pending()};
    backend().deliver_ready(op.id);
    EXPECT_FALSE(port().collect(backend().time));
    EXPECT_EQ(port().sockets().open_count(), 2U);
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(backend().open_handles(), 0U);
}

TEST_F(PortCloseTest, TerminateSaysWhenTheKernelKeepsSomething) {
    backend().answers_cancels = false;
    const Posted& op = receive(open_socket());
    const std::int64_t before = backend().time;
    EXPECT_FALSE(port().terminate());
    EXPECT_GE(backend().time, before + 1'000'000'000) << "terminate() waits a second";
    EXPECT_EQ(charged(), page()) << "what the kernel holds stays charged";
    EXPECT_EQ(op.leases_given_back, 0);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_TRUE(port().terminate()) << "the kernel has given the buffer back";
}

}  // namespace
}  // namespace iocp::scripted
