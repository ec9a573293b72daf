// close() of a socket: it waits for queued sends, cancels, reaps the packets and closes the handle,
// in this order.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CloseTest : public CoreTest {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        backend().answers_cancels = false;
    }
    // Makes turns until `duration` nanoseconds have passed, even if the port wakes earlier.
    void pass(std::int64_t duration) {
        const std::int64_t end = backend().time + duration;
        do {
            turn_until(end);
        } while (backend().time < end);
        turn();
    }
};

TEST_F(CloseTest, OfAnIdleSocketIsAtOnce) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    close(socket, 1'000'000);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("close"));
    EXPECT_THAT(closed, IsEmpty()) << "its end is handed out later, never inside the call";
    turn();
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_FALSE(closed[0].failure);
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

TEST_F(CloseTest, WaitsForTheKernelToGiveBackWhatItHolds) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& op = receive(socket);
    forget_calls();
    close(socket);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive"));
    EXPECT_EQ(charged(), page());
    turns(3);
    EXPECT_TRUE(backend().is_open(handle));
    EXPECT_EQ(op.completions, 0);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive", "close"));
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(closed.size(), 1U);
}

// A shutdown would end the connection for other holders of the descriptor, which the library does
// not know (fork, dup).
TEST_F(CloseTest, NeverShutsTheConnectionDown) {
    const Handle handle = backend().make_handle();
    Socket* socket = nullptr;
    EXPECT_FALSE(locked([&] { return port().sockets().adopt({handle}, socket); }));
    for (Socket* one : {socket, &open_socket()}) {
        const Posted& op = receive(*one);
        close(*one);
        backend().deliver(op.id, -code_cancelled);
        turn();
    }
    EXPECT_EQ(backend().count("shutdown:rw"), 0U);
    EXPECT_EQ(backend().open_handles(), 0U);
}

// If the backend already has the answer to the cancel, close() of a listener or datagram socket
// frees its address before it returns.
TEST_F(CloseTest, TakesTheAnswersThatAreThereForAnAddress) {
    backend().answers_at_once = true;
    Socket& listener = open_socket();
    listener.listening = true;
    Socket& datagrams = open_socket(false);
    Socket& stream = open_socket();
    const Posted& a = post(listener, OperationKind::accept);
    const Posted& b = receive(datagrams);
    const Posted& c = receive(stream);
    for (Socket* one : {&listener, &datagrams, &stream}) {
        close(*one);
    }
    EXPECT_EQ(listener.state, SocketState::closed);
    EXPECT_EQ(datagrams.state, SocketState::closed);
    EXPECT_EQ(stream.state, SocketState::cancelling)
        << "it has no address that another socket waits for";
    EXPECT_EQ(a.completions + b.completions + c.completions, 0) << "handed out later";
    backend().answer_cancels();
    turn();
    EXPECT_EQ(closed.size(), 3U);
    EXPECT_TRUE(a.completed() && b.completed() && c.completed());
}

TEST_F(CloseTest, CompletesEverythingOfBothDirections) {
    Socket& socket = open_socket();
    std::vector<Posted*> all;
    for (int i = 0; i < 4; ++i) {
        all.push_back(&receive(socket));
        all.push_back(&send(socket));
    }
    close(socket);
    backend().answer_cancels();
    turn();
    for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i]->error.fault, i % 2 == 0 ? Fault::cancelled : Fault::timed_out)
            << "receives are cancelled; the sends got no time";
    }
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::timed_out);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(CloseTest, ResultsThatCameBeforeTheAnswerAreKept) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    close(socket);
    backend().deliver(op.id, 17);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 17U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, AReadyPacketWhileClosingStartsNothing) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    close(socket);
    backend().deliver_ready(op.id);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, SendsWhatIsQueuedWithinTheDeadline) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 20});
    close(socket, 1'000'000);
    EXPECT_EQ(socket.state, SocketState::draining);
    EXPECT_THAT(backend().calls_on(handle), Not(Contains("shutdown:rw")));
    backend().deliver(a.id, 10);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_THAT(closed, IsEmpty());
    backend().deliver(b.id, 20);
    turns(2);
    EXPECT_TRUE(b.succeeded());
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_FALSE(closed[0].failure);
    EXPECT_EQ(backend().count("cancel:send"), 0U);
}

TEST_F(CloseTest, SendsWhatIsBatchedToo) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    const Posted& b = send(socket, {.length = 10, .batched = true});
    close(socket, 1'000'000);
    turn();
    EXPECT_EQ(backend().started.back().count, 2U);
    backend().deliver(a.id, 20);
    turns(2);
    EXPECT_TRUE(a.succeeded() && b.succeeded());
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, EndsReceivesWhileItsSendsDrain) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket, {.length = 10});
    close(socket, 1'000'000);
    backend().deliver(r.id, -code_cancelled);
    turn();
    EXPECT_EQ(r.error.fault, Fault::cancelled);
    EXPECT_EQ(s.completions, 0);
    EXPECT_EQ(socket.state, SocketState::draining);
    backend().deliver(s.id, 10);
    turns(2);
    EXPECT_TRUE(s.succeeded());
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, ResetsWhereThePeerTookNothingBeforeTheDeadline) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 20});
    close(socket, 1000);
    pass(5000);
    backend().answer_cancels();
    turns(2);
    EXPECT_EQ(a.error.fault, Fault::timed_out);
    EXPECT_EQ(b.error.fault, Fault::timed_out);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::timed_out);
    EXPECT_THAT(backend().calls_on(handle), Contains("reset"));
    EXPECT_THAT(backend().calls_on(handle), Not(Contains("shutdown:rw")));
}

TEST_F(CloseTest, TheDeadlineCountsFromTheLastProgress) {
    Socket& socket = open_socket();
    const Posted& op = send(socket, {.length = 100});
    const std::int64_t began = backend().time;
    close(socket, 8000);
    for (int i = 0; i < 5; ++i) {
        pass(6000);
        ++backend().taken;  // the peer takes a byte from the system's buffer
    }
    for (int i = 0; i < 5; ++i) {
        pass(6000);
        backend().deliver(op.id, 10);  // the system takes ten bytes from the port
        turn();
    }
    EXPECT_GE(backend().time - began, 60'000);
    EXPECT_EQ(socket.state, SocketState::draining);
    const std::int64_t last = backend().time;
    while (socket.state == SocketState::draining) {
        turn_until(backend().time + 1000);
    }
    EXPECT_GE(backend().time - last, 8000 - 2000);
    EXPECT_LE(backend().time - last, 8000 + 1000) << "at most an eighth of the timeout too late";
    backend().answer_cancels();
    turn();
    EXPECT_EQ(op.transferred, 50U);
}

TEST_F(CloseTest, AReleaseIsProgress) {
    Socket& socket = open_socket();
    locked([&] { port().sockets().set_send_strategy(socket, SendStrategy::direct); });
    const Posted& a = send(socket, {.length = 10});
    backend().deliver_transferred(a.id, 10);
    turn();
    const Posted& b = send(socket, {.length = 10});
    backend().deliver_transferred(b.id, 10);
    turn();
    close(socket, 8000);
    pass(6000);
    backend().deliver_released(a.id);
    pass(6000);
    EXPECT_EQ(socket.state, SocketState::draining);
    while (socket.state == SocketState::draining) {
        turn_until(backend().time + 1000);
    }
    backend().deliver_released(b.id);
    turn();
    EXPECT_TRUE(b.succeeded()) << "all its bytes went";
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.fault, Fault::timed_out);
}

TEST_F(CloseTest, ASendThatFailsWhileItDrainsEndsTheDrain) {
    for (const int code : {code_plain, code_send_ended, code_exhausted}) {
        Socket& socket = open_socket();
        const Handle handle = socket.handle;
        const Posted& op = send(socket, {.length = 10});
        send(socket, {.length = 10});
        close(socket, 1'000'000);
        backend().deliver(op.id, -code);
        turns(2);
        ASSERT_FALSE(closed.empty());
        EXPECT_EQ(closed.back().failure.code, code);
        EXPECT_THAT(backend().calls_on(handle), Contains("reset"))
            << "an end of stream would claim that all bytes arrived";
    }
}

TEST_F(CloseTest, OfAStreamThatWasCutIsAReset) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    Posted& op = send(socket, {.length = 100});
    backend().deliver(op.id, 40);
    turn();
    EXPECT_TRUE(cancel(op));
    backend().answer_cancels();
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    close(socket, 1'000'000);
    turn();
    EXPECT_THAT(backend().calls_on(handle), Contains("reset"));
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_FALSE(closed[0].failure) << "the send has reported the error";
}

TEST_F(CloseTest, ASecondCloseWithoutTimeEndsTheDrain) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10});
    close(socket, 1'000'000);
    close(socket, 0);
    backend().answer_cancels();
    turns(2);
    EXPECT_EQ(a.error.fault, Fault::timed_out);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, TheDefaultDeadlineIsThePorts) {
    PortOptions options;
    options.close_timeout = 4000;
    make(options);
    Socket& socket = open_socket();
    send(socket, {.length = 10});
    close(socket, -1);
    const std::int64_t began = backend().time;
    while (socket.state == SocketState::draining) {
        turn_until(-1);
    }
    EXPECT_GE(backend().time - began, 4000);
    EXPECT_LE(backend().time - began, 4500);
}

TEST_F(CloseTest, AnErrorWhileDrainingEndsTheDrain) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 10});
    close(socket, 1'000'000);
    backend().deliver(a.id, -code_fatal);
    turns(2);
    EXPECT_EQ(a.error.code, code_fatal);
    EXPECT_EQ(b.error.code, code_fatal);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(CloseTest, ASpentConnectIsNotDrainedFor) {
    Socket& socket = open_socket();
    const Posted& op = post(socket, OperationKind::connect);
    send(socket);
    close(socket, 1'000'000'000);
    EXPECT_EQ(socket.state, SocketState::cancelling);
    backend().answer_cancels();
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, TwiceIsOnce) {
    Socket& socket = open_socket();
    close(socket);
    close(socket);
    abort(socket);
    turn();
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(CloseTest, APortsCloseCutsDrainsShort) {
    Socket& socket = open_socket();
    const Posted& op = send(socket);
    close(socket, 1'000'000'000'000);
    locked([&] { port().begin_close(0); });
    backend().answer_cancels();
    turns(3);
    EXPECT_TRUE(op.completed()) << "the port's deadline bounds what drains already";
    EXPECT_EQ(closed.size(), 1U);
}

}  // namespace
}  // namespace iocp::scripted
