// Readers that pause, and posts behind a cancelled subscription (R37).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PausingTest : public CoreTest {
protected:
    Posted& direct(Socket& socket) {
        return post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    }
    // Makes a subscription whose data callback pauses its socket, and scripts the results of its
    // reads.
    Posted& pausing_at_its_first(Socket& socket, std::deque<StartResult> reads) {
        Posted& op =
            post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
        turn();
        on_data = [&](Socket& one) { port().sockets().pause_reading(one); };
        backend().on(socket).drained = false;
        backend().on(socket).reads = std::move(reads);
        backend().deliver_ready(op.id);
        return op;
    }
    bool pause(Socket& socket) {
        return locked([&] { return port().sockets().pause_reading(socket); });
    }
    bool resume(Socket& socket) {
        return locked([&] { return port().sockets().resume_reading(socket); });
    }
    std::size_t requests(const Socket& socket) {
        std::size_t count = 0;
        for (const Request& request : backend().held()) {
            count += request.handle == socket.handle ? 1U : 0U;
        }
        return count;
    }
};

TEST_F(PausingTest, NothingStandsInTheKernelAndNothingIsCharged) {
    Socket& socket = open_socket();
    direct(socket);
    turn();
    EXPECT_EQ(charged(), page());
    EXPECT_TRUE(pause(socket));
    turns(3);
    EXPECT_EQ(requests(socket), 0U);
    EXPECT_EQ(charged(), 0U);
    EXPECT_TRUE(resume(socket));
    turn();
    EXPECT_EQ(requests(socket), 1U);
    EXPECT_EQ(charged(), page());
}

TEST_F(PausingTest, WhatTheRequestHadTakenComesFirst) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = direct(socket);
    turn();
    pause(socket);
    backend().deliver(op.id, 5);  // the data came before the cancel
    turns(2);
    EXPECT_THAT(op.data, IsEmpty());
    resume(socket);
    turn();
    EXPECT_THAT(op.data, ElementsAre(5U));
    backend().deliver(op.id, 6);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(5U, 6U));
}

TEST_F(PausingTest, RecordsOfTheSameTurnAreHeldBack) {
    Socket& socket = open_socket();
    Posted& op = pausing_at_its_first(socket, {done(1), done(2), done(0)});
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(1U));
    EXPECT_TRUE(resume(socket));
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(1U, 2U));
    EXPECT_EQ(op.ends, 0);
    EXPECT_EQ(op.completions, 0) << "the completion follows the data";
    EXPECT_TRUE(resume(socket));
    turns(2);
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PausingTest, TheEndOfTheSocketWaitsBehindWhatIsKept) {
    Socket& socket = open_socket();
    Posted& op = pausing_at_its_first(socket, {done(1), done(2), failed(code_fatal)});
    turns(3);
    EXPECT_THAT(op.data, ElementsAre(1U));
    EXPECT_THAT(closed, IsEmpty());
    on_data = nullptr;
    resume(socket);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(1U, 2U));
    EXPECT_EQ(op.error.code, code_fatal);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(PausingTest, PausingTwiceIsOnce) {
    Socket& socket = open_socket();
    direct(socket);
    turn();
    forget_calls();
    EXPECT_TRUE(pause(socket));
    EXPECT_FALSE(pause(socket));
    EXPECT_THAT(calls(socket), ElementsAre("cancel:receive_each"));
    EXPECT_TRUE(resume(socket));
    EXPECT_FALSE(resume(socket));
    turns(2);
    EXPECT_EQ(requests(socket), 1U) << "the answer to the cancel starts it again";
}

TEST_F(PausingTest, CloseEndsThePauseAndLeavesNothing) {
    Socket& socket = open_socket();
    Posted& op = pausing_at_its_first(socket, {done(1), done(2)});
    turns(2);
    on_data = nullptr;
    close(socket);
    turns(3);
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(PausingTest, ThePortsCloseEndsThePauseOfSocketsThatAnErrorClosed) {
    Socket& socket = open_socket();
    pausing_at_its_first(socket, {done(1), done(2), failed(code_fatal)});
    turns(2);
    on_data = nullptr;
    finish();
}

TEST_F(PausingTest, AcceptedConnectionsWaitToo) {
    Socket& listener = open_socket();
    Posted& op = post(listener, OperationKind::accept_each);
    turn();
    pause(listener);
    turn();
    EXPECT_EQ(requests(listener), 0U);
    backend().on(listener).starts = {connection(backend().make_handle()), pending()};
    resume(listener);
    turn();
    pause(listener);
    turns(2);
    EXPECT_EQ(op.connections.size(), 1U);
}

TEST_F(PausingTest, APausedConnectionIsNotEvictedForItsSilence) {
    PortOptions options;
    options.idle_timeout = 1'000'000'000;
    make(options);
    Socket& listener = open_socket();
    Posted& accepts = post(listener, OperationKind::accept_each);
    backend().on(listener).starts = {connection(backend().make_handle()), pending()};
    backend().deliver_ready(accepts.id);
    turn();
    ASSERT_EQ(accepts.connections.size(), 1U);
    Socket& socket = *accepts.connections[0];
    direct(socket);
    pause(socket);
    for (int i = 0; i < 10; ++i) {
        turn_until(backend().time + 1'000'000'000);
    }
    EXPECT_THAT(closed, IsEmpty());
    resume(socket);
    for (int i = 0; i < 3; ++i) {
        turn_until(backend().time + 1'000'000'000);
    }
    turn();
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(PausingTest, ASubscriptionMayFollowOneThatWasCancelled) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& first = direct(socket);
    turn();
    EXPECT_FALSE(direct(socket).accepted) << "the first subscription goes on";
    EXPECT_TRUE(cancel(first));
    Posted& second = direct(socket);
    EXPECT_TRUE(second.accepted);
    EXPECT_FALSE(direct(socket).accepted);
    turn();
    EXPECT_EQ(requests(socket), 1U) << "the kernel has the first yet";
    backend().deliver(first.id, 3);
    turn();
    EXPECT_THAT(first.data, ElementsAre(3U));
    EXPECT_EQ(first.error.fault, Fault::cancelled);
    EXPECT_EQ(requests(socket), 1U);
    backend().deliver(second.id, 4);
    turns(2);
    EXPECT_THAT(second.data, ElementsAre(4U));
}

TEST_F(PausingTest, SingleReceivesMayFollowItAsWell) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& first = direct(socket);
    turn();
    cancel(first);
    Posted& single = receive(socket);
    EXPECT_TRUE(single.accepted);
    EXPECT_FALSE(direct(socket).accepted) << "now a single receive is the last";
    backend().deliver(first.id, -code_cancelled);
    turn();
    backend().deliver(single.id, 9);
    turn();
    EXPECT_EQ(single.transferred, 9U);
}

}  // namespace
}  // namespace iocp::scripted
