// The port: turns, take-overs from an ended thread, timers, posted packets and wakes.
#include <thread>

#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PortTest : public CoreTest {
protected:
    Timer* call_at(std::int64_t when, void* user) {
        return locked([&] { return port().timers().call_at(when, user); });
    }
};

TEST_F(PortTest, WithNothingOutstandingItIsQuiet) {
    EXPECT_TRUE(locked([&] { return port().quiet(); }));
    Posted& op = receive(open_socket());
    EXPECT_FALSE(locked([&] { return port().quiet(); }));
    cancel(op);
    turns(2);
    EXPECT_TRUE(locked([&] { return port().quiet(); }));
}

TEST_F(PortTest, ATurnWaitsNoLongerThanAsked) {
    turn_until(backend().time + 700);
    EXPECT_EQ(backend().waits.back(), 700);
    turn_until(backend().time);
    EXPECT_EQ(backend().waits.back(), 0);
    turn_until(backend().time - 5);
    EXPECT_EQ(backend().waits.back(), 0);
}

TEST_F(PortTest, ATurnWithWorkReadyDoesNotWait) {
    int value = 0;
    EXPECT_FALSE(locked([&] { return port().operations().post_packet(&value); }));
    turn_until(-1);
    EXPECT_EQ(backend().waits.back(), 0);
    EXPECT_THAT(packets, ElementsAre(&value));
}

TEST_F(PortTest, PostedPacketsKeepTheirOrder) {
    std::vector<int> values(50);
    std::vector<void*> expected;
    for (int& value : values) {
        EXPECT_FALSE(locked([&] { return port().operations().post_packet(&value); }));
        expected.push_back(&value);
    }
    turn();
    EXPECT_EQ(packets, expected);
}

TEST_F(PortTest, AnotherThreadMayNotRunIt) {
    backend().claimable = false;
    EXPECT_EQ(turn().fault, Fault::wrong_thread);
    backend().claimable = true;
    EXPECT_FALSE(turn());
}

TEST_F(PortTest, TheNextThreadStartsAgainWhatTheSystemEndedWithTheLastOne) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    const Posted& cancelled = send(socket);
    cancel(const_cast<Posted&>(cancelled));
    backend().lose_requests();
    turn();
    EXPECT_EQ(cancelled.error.fault, Fault::cancelled) << "its end is the answer to its cancel";
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(charged(), page());
    backend().deliver(op.id, 7);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PortTest, AnAnswerThatCameBeforeItsThreadWasGoneStartsTheNextRequestOnce) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket, {.length = 100, .flags = flag_fill});
    backend().deliver(op.id, 10);
    backend().lose_requests();
    turn();
    EXPECT_EQ(backend().count("start:receive"), 2U);
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(backend().request_of(op.id)->bytes, 90U);
    backend().deliver(op.id, 90);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PortTest, APostBeforeARestartThatFoundNoMemoryIsStartedOnce) {
    const Posted& lost = receive(open_socket());
    backend().lose_requests();
    EXPECT_EQ(turn_without_memory().fault, Fault::resource);
    const Posted& later = receive(open_socket());
    ASSERT_NE(backend().request_of(later.id), nullptr);
    turn();
    ASSERT_NE(backend().request_of(lost.id), nullptr);
    EXPECT_EQ(backend().count("start:receive"), 3U) << "only the lost one is started again";
    backend().deliver(lost.id, 1);
    backend().deliver(later.id, 2);
    turn();
    EXPECT_TRUE(lost.succeeded());
    EXPECT_TRUE(later.succeeded());
}

// A claim may fail although the backend has already taken over from the ended thread.
TEST_F(PortTest, APostBetweenATakeOverAndItsTurnIsStartedOnce) {
    receive(open_socket());
    backend().lose_requests();
    backend().claimable = false;
    EXPECT_EQ(turn().fault, Fault::wrong_thread);
    receive(open_socket());
    backend().claimable = true;
    turn();
    EXPECT_EQ(backend().count("start:receive"), 3U);
}

TEST_F(PortTest, ALostRequestIsCancelledWithoutTheBackend) {
    Posted& lost = receive(open_socket());
    backend().lose_requests();
    EXPECT_EQ(turn_without_memory().fault, Fault::resource);
    EXPECT_TRUE(cancel(lost));
    EXPECT_EQ(backend().count("cancel:receive"), 0U) << "the backend has no such request any more";
    EXPECT_FALSE(lost.completed());
    turn();
    EXPECT_EQ(lost.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().count("start:receive"), 1U);
}

// close() must not reap before the lost requests are started again. A release among the new ring's
// packets would be taken for one that the old ring owed.
TEST_F(PortTest, AnAddressWaitsForTheRestart) {
    Socket& datagrams = open_socket(false);
    receive(datagrams);
    backend().answers_at_once = true;
    backend().lose_requests();
    EXPECT_EQ(turn_without_memory().fault, Fault::resource);
    bool asked = false;
    backend().on_reap = [&] { asked = true; };
    close(datagrams);
    EXPECT_FALSE(asked);
    EXPECT_EQ(datagrams.state, SocketState::cancelling);
    turn();
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(PortTest, WhatIsCollectedWaitsForTheNextPoll) {
    int value = 0;
    EXPECT_FALSE(locked([&] { return port().operations().post_packet(&value); }));
    EXPECT_FALSE(port().collect(backend().time));
    EXPECT_THAT(packets, IsEmpty());
    turn();
    EXPECT_THAT(packets, ElementsAre(&value));
}

TEST_F(PortTest, ATimerFiresAtItsTime) {
    int a = 0;
    call_at(backend().time + 100, &a);
    turn_until(backend().time + 99);
    EXPECT_THAT(fired, IsEmpty());
    turn_until(-1);
    EXPECT_EQ(backend().waits.back(), 1);
    EXPECT_THAT(fired, ElementsAre(&a));
}

TEST_F(PortTest, TimersFireInOrderAndTiesAsTheyWereMade) {
    int a = 0;
    int b = 0;
    int c = 0;
    int d = 0;
    call_at(backend().time + 30, &a);
    call_at(backend().time + 10, &b);
    call_at(backend().time + 30, &c);
    call_at(backend().time + 20, &d);
    backend().time += 100;
    turn();
    EXPECT_THAT(fired, ElementsAre(&b, &d, &a, &c));
}

TEST_F(PortTest, ATimerInThePastFiresInTheNextTurn) {
    int a = 0;
    call_at(backend().time - 1'000, &a);
    EXPECT_THAT(fired, IsEmpty());
    turn_until(-1);
    EXPECT_THAT(fired, ElementsAre(&a));
}

TEST_F(PortTest, ACancelledTimerDoesNotFire) {
    int a = 0;
    Timer* timer = call_at(backend().time + 10, &a);
    EXPECT_TRUE(locked([&] { return port().timers().cancel(*timer); }));
    backend().time += 100;
    turn();
    EXPECT_THAT(fired, IsEmpty());
    EXPECT_TRUE(locked([&] { return port().quiet(); }));
}

TEST_F(PortTest, ATimerCancelledAfterItFiredIsHandedOutWithoutTarget) {
    int a = 0;
    Timer* timer = call_at(backend().time, &a);
    EXPECT_FALSE(port().collect(backend().time));
    EXPECT_FALSE(locked([&] { return port().timers().cancel(*timer); }));
    turn();
    EXPECT_THAT(fired, ElementsAre(nullptr));
}

TEST_F(PortTest, AWakeEndsTheNextWait) {
    locked([&] { port().wake(); });
    turn_until(-1);
    EXPECT_EQ(backend().waits.back(), 0);
    EXPECT_TRUE(locked([&] { return port().take_woken(); }));
    EXPECT_FALSE(locked([&] { return port().take_woken(); }));
}

TEST_F(PortTest, AWakeFromAnotherThreadEndsAWaitForEver) {
    backend().on_wait = [&] { std::thread([&] { locked([&] { port().wake(); }); }).join(); };
    turn_until(-1);
    EXPECT_EQ(backend().waits.back(), -1);
    EXPECT_EQ(backend().wakes, 1);
}

TEST_F(PortTest, TheLockIsDroppedOnlyAroundTheWait) {
    const auto is_free = [&] {
        bool taken = false;
        std::thread([&] {
            taken = port().mutex().try_lock();
            if (taken) {
                port().mutex().unlock();
            }
        }).join();
        return taken;
    };
    const Posted& op = receive(open_socket());
    backend().deliver(op.id, -code_cancelled);  // no cancel was asked: the receive starts again
    std::vector<bool> free;
    backend().on_wait = [&] { free.push_back(is_free()); };
    backend().on_reap = [&] { free.push_back(is_free()); };
    backend().on_start = [&](const Operation&) { free.push_back(is_free()); };
    turn();
    EXPECT_THAT(free, ElementsAre(true, false, false));
}

TEST_F(PortTest, OnlyASleeperIsWoken) {
    receive(open_socket());
    locked([&] { port().wake(); });
    EXPECT_EQ(backend().wakes, 0) << "the thread that posts is awake";
}

TEST_F(PortTest, AnythingPostedFromAnotherThreadWakesTheSleeper) {
    Socket& socket = open_socket();
    int value = 0;
    const std::vector<std::function<void()>> actions{
        [&] { receive(socket); },
        [&] { send(socket, {.batched = true}); },
        [&] { locked([&] { (void)port().operations().post_packet(&value); }); },
        [&] { call_at(backend().time + 5, &value); },
        [&] { locked([&] { (void)port().operations().cancel_all(socket); }); },
        [&] { close(socket); },
    };
    int wakes = 0;
    for (const auto& action : actions) {
        backend().on_wait = [&] { std::thread(action).join(); };
        turn_until(backend().time + 1'000'000'000);
        EXPECT_EQ(backend().wakes, ++wakes) << "once, and before the wait is over";
    }
    backend().time += 5;
    turns(3);
    EXPECT_THAT(fired, ElementsAre(&value));
    EXPECT_THAT(packets, ElementsAre(&value));
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(PortTest, WhatAnotherThreadCancelsIsFinishedByTheRunner) {
    Posted& op = receive(open_socket());
    backend().on_wait = [&] { std::thread([&] { cancel(op); }).join(); };
    turn_until(backend().time + 1'000'000'000);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
}

TEST_F(PortTest, CountsWhatItDid) {
    const Posted& op = receive(open_socket());
    backend().deliver(op.id, 1);
    const PortCounts before = port().figures().counts();
    turn();
    EXPECT_EQ(port().figures().counts().waits, before.waits + 1);
    EXPECT_EQ(port().figures().counts().packets, before.packets + 1);
    EXPECT_EQ(port().figures().counts().late, before.late);
}

TEST_F(PortTest, QueuedBytesAreWhatIsStillToGo) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 100});
    send(socket, {.length = 50});
    EXPECT_EQ(locked([&] { return socket.sending.bytes; }), 150U);
    backend().deliver(a.id, 30);
    turn();
    EXPECT_EQ(locked([&] { return socket.sending.bytes; }), 120U);
}

}  // namespace
}  // namespace iocp::scripted
