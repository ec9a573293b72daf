// The end of sockets and of the port: cancel, reap, close, in that order.
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
    // Lets `duration` nanoseconds pass, although the port may wake meanwhile.
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
    EXPECT_THAT(closed, IsEmpty()) << "its end is told later, never inside the call";
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

// The descriptor may have other holders that the library does not know (fork, dup).
TEST_F(CloseTest, NeverShutsTheConnectionDown) {
    const Handle handle = backend().make_handle();
    Socket* socket = nullptr;
    EXPECT_FALSE(locked([&] { return port().sockets().adopt(handle, socket); }));
    for (Socket* one : {socket, &open_socket()}) {
        const Posted& op = receive(*one);
        close(*one);
        backend().deliver(op.id, -code_cancelled);
        turn();
    }
    EXPECT_EQ(backend().count("shutdown:rw"), 0U);
    EXPECT_EQ(backend().open_handles(), 0U);
}

// If the backend has the answer to the cancel already, close() frees the address before it returns.
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
        << "it has no address that another one waits for";
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
    EXPECT_LE(backend().time - last, 8000 + 1000) << "an eighth of it too late at most";
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
    EXPECT_FALSE(closed[0].failure) << "the send has told it";
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

// A send meets an error before a receive does (R05).
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

class AbortTest : public CoreTest {};

TEST_F(AbortTest, ResetsAndDrainsNothing) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& s = send(socket);
    forget_calls();
    abort(socket);
    turns(2);
    EXPECT_EQ(s.error.fault, Fault::cancelled);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("reset", "cancel:send", "close"))
        << "a shutdown would show the peer an orderly end before the reset";
}

TEST_F(AbortTest, EndsADrain) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& s = send(socket);
    close(socket, 1'000'000'000);
    abort(socket);
    turns(2);
    EXPECT_TRUE(s.completed());
    EXPECT_THAT(backend().calls_on(handle), Contains("reset"));
    EXPECT_EQ(closed.size(), 1U);
}

class DetachTest : public CoreTest {};

TEST_F(DetachTest, CancelsAndReapsAndLeavesTheHandle) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& op = receive(socket);
    forget_calls();
    locked([&] { port().sockets().detach(socket); });
    EXPECT_FALSE(locked([&] { return socket.idle(); }));
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive"));
    backend().deliver(op.id, -code_cancelled);
    EXPECT_FALSE(port().collect(backend().time));
    EXPECT_TRUE(locked([&] { return socket.idle(); }));
    EXPECT_EQ(socket.handle, handle);
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive", "detach"));
    turn();
    EXPECT_TRUE(backend().is_open(handle));
    expected_handles = 1;
}

TEST_F(DetachTest, AnAbortMeanwhileLeavesTheHandleToTheCaller) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& op = receive(socket);
    forget_calls();
    locked([&] { port().sockets().detach(socket); });
    locked([&] { port().sockets().abort(socket); });
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_THAT(backend().calls_on(handle), ElementsAre("cancel:receive", "detach"));
    EXPECT_TRUE(backend().is_open(handle));
    expected_handles = 1;
}

class ShutdownTest : public CoreTest {};

TEST_F(ShutdownTest, FollowsTheQueuedSends) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 10});
    forget_calls();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    EXPECT_THAT(calls(socket), IsEmpty());
    backend().deliver(a.id, 10);
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send"));
    backend().deliver(b.id, 10);
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send", "shutdown:w"));
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    EXPECT_EQ(backend().count("shutdown:w"), 1U) << "once";
}

TEST_F(ShutdownTest, OfAnIdleSocketIsAtOnce) {
    Socket& socket = open_socket();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, true, true); }));
    EXPECT_THAT(calls(socket), ElementsAre("shutdown:r", "shutdown:w"));
}

TEST_F(ShutdownTest, FollowsSendsThatAreCancelled) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 10});
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    cancel(a);
    turns(2);
    EXPECT_EQ(a.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().count("shutdown:w"), 1U);
}

TEST_F(ShutdownTest, DoesNotFollowASendThatWasCut) {
    Socket& socket = open_socket();
    Posted& a = send(socket, {.length = 10});
    backend().deliver(a.id, 4);
    turn();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    cancel(a);
    turns(2);
    EXPECT_EQ(backend().count("shutdown:w"), 0U) << "it would be a clean end of a part";
    EXPECT_EQ(locked([&] { return port().sockets().shutdown(socket, false, true); }).fault,
              Fault::socket_closed);
}

TEST_F(ShutdownTest, OfAClosedSocketIsRefused) {
    Socket& socket = open_socket();
    close(socket);
    EXPECT_EQ(locked([&] { return port().sockets().shutdown(socket, true, true); }).fault,
              Fault::socket_closed);
}

class PortCloseTest : public CoreTest {
protected:
    // Posts one of everything that can be outstanding.
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
    EXPECT_GE(backend().time, before + 1'000'000'000) << "it waited for it";
    EXPECT_EQ(charged(), page()) << "what the kernel holds stays charged";
    EXPECT_EQ(op.leases_given_back, 0);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_TRUE(port().terminate()) << "it is given back at last";
}

}  // namespace
}  // namespace iocp::scripted
