// Turn, tested without a port: the order in which effects (effects.hpp) are applied, the packets,
// the wait in the backend, and the calls that wake it.
#include "core/turn.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <optional>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TurnTest : public PartsTest {
protected:
    void SetUp() override {
        PartsTest::SetUp();
        turn_.emplace(parts(), backend);
    }
    // Ends the sockets that the test has left open.
    void TearDown() override {
        backend.on_wait = nullptr;
        parts().socket_table.each([this](Socket& socket) { parts().lifecycle.end_now(socket); });
        turn().work_off();
        EXPECT_FALSE(run());
        EXPECT_TRUE(backend.held().empty());
        turn_.reset();
        PartsTest::TearDown();
    }

    Turn& turn() { return *turn_; }
    // Makes one turn that may wait until `deadline` by the scripted clock.
    Error run_until(std::int64_t deadline) {
        std::unique_lock lock(mutex_);
        return turn().run(lock, deadline);
    }
    Error run() { return run_until(backend.time); }
    // Posts an operation and starts it.
    Operation& started(Socket& socket, OperationKind kind) {
        Operation& op = posted(socket, kind);
        parts().work.add(socket, effect::start(socket, socket.lane_of(op)));
        turn().work_off();
        return op;
    }
    const PortCounts& counts() { return parts().metrics.counts; }

    std::mutex mutex_;
    std::optional<Turn> turn_;
};

TEST_F(TurnTest, AFailureIsAppliedBeforeTheStartsOfTheSameStep) {
    Socket& socket = open_socket();
    const Operation& op = posted(socket, OperationKind::receive);
    parts().work.add(socket, effect::settle);
    parts().work.add(socket, effect::start_receiving);
    parts().work.fail(socket, Error::of(Fault::timed_out, "the socket failed"));
    const Handle handle = socket.handle;
    turn().work_off();
    EXPECT_THAT(backend.calls_on(handle), ElementsAre("close")) << "nothing is started any more";
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(op.error.fault, Fault::timed_out);
}

TEST_F(TurnTest, TheEndOfASocketIsItsLastRecord) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::receive);
    posted(socket, OperationKind::zero_byte);
    parts().work.add(socket, effect::hand_out);
    parts().work.fail(socket, Error::of(Fault::timed_out, "the socket failed"));
    turn().work_off();
    EXPECT_EQ(socket.state, SocketState::closed);
    EXPECT_THAT(records(),
                ElementsAre(Ready::What::completed, Ready::What::completed, Ready::What::closed));
}

TEST_F(TurnTest, ReceivesStartBeforeSendsAndSettleComesLast) {
    Socket& socket = open_socket();
    posted(socket, OperationKind::send);
    posted(socket, OperationKind::receive);
    socket.failure = Error::of(Fault::system, "an earlier send failed");
    backend.unread = 1;
    parts().work.add(socket, effect::settle);
    parts().work.add(socket, effect::start_sending);
    parts().work.add(socket, effect::start_receiving);
    turn().work_off();
    EXPECT_THAT(backend.calls_on(socket.handle),
                ElementsAre("start:receive", "start:send", "available"));
}

TEST_F(TurnTest, SocketsAreServedInTheOrderOfTheirFirstEffects) {
    Socket& one = open_socket();
    Socket& other = open_socket();
    posted(one, OperationKind::receive);
    posted(other, OperationKind::receive);
    parts().work.add(other, effect::start_receiving);
    parts().work.add(one, effect::start_receiving);
    turn().work_off();
    ASSERT_EQ(backend.started.size(), 2U);
    EXPECT_EQ(backend.started.front().handle, other.handle);
}

TEST_F(TurnTest, EffectsThatAnEffectLeavesAreAppliedInTheSameStep) {
    Socket& socket = open_socket();
    backend.on(socket).starts.push_back(failed(code_fatal));
    const Operation& op = posted(socket, OperationKind::receive);
    const Operation& next = posted(socket, OperationKind::receive);
    parts().work.add(socket, effect::start_receiving);
    turn().work_off();
    EXPECT_TRUE(op.finished());
    EXPECT_TRUE(next.finished()) << "the fatal error ends the socket with everything on it";
    EXPECT_EQ(socket.state, SocketState::closed);
    EXPECT_TRUE(parts().work.empty());
}

TEST_F(TurnTest, AnEffectWithoutMemoryIsAppliedByTheNextTurn) {
    Socket& socket = open_socket();
    socket.failure = Error::of(Fault::system, "an earlier send failed");
    Socket& behind = open_socket();
    const Operation& op = posted(behind, OperationKind::receive);
    backend.out_of_memory = true;
    parts().work.add(socket, effect::settle);
    parts().work.add(behind, effect::start_receiving);
    turn().work_off();
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_EQ(backend.request_of(op.id), nullptr) << "the effects behind it keep their places";
    backend.out_of_memory = false;
    EXPECT_FALSE(run());
    EXPECT_EQ(socket.state, SocketState::closed);
    EXPECT_NE(backend.request_of(op.id), nullptr);
}

TEST_F(TurnTest, ATurnDoesNotSleepWhileAnEffectWaitsForMemory) {
    Socket& socket = open_socket();
    socket.failure = Error::of(Fault::system, "an earlier send failed");
    backend.out_of_memory = true;
    parts().work.add(socket, effect::settle);
    turn().work_off();
    EXPECT_FALSE(run_until(backend.time + 500));
    EXPECT_EQ(backend.waits.back(), 0);
    EXPECT_EQ(socket.state, SocketState::open);
    backend.out_of_memory = false;
}

TEST_F(TurnTest, APacketStartsTheNextOperationOfItsLane) {
    Socket& socket = open_socket();
    const Operation& op = started(socket, OperationKind::receive);
    const Operation& next = posted(socket, OperationKind::receive);
    backend.deliver(op.id, 7);
    EXPECT_FALSE(run());
    EXPECT_TRUE(op.finished());
    EXPECT_EQ(op.transferred, 7U);
    EXPECT_NE(backend.request_of(next.id), nullptr);
    EXPECT_EQ(counts().packets, 1U);
    EXPECT_EQ(counts().late, 0U);
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
}

TEST_F(TurnTest, APacketOfARetiredOperationIsDropped) {
    Socket& socket = open_socket();
    Operation& op = started(socket, OperationKind::receive);
    const SlotId gone = op.id;
    backend.deliver(gone, 7);
    EXPECT_FALSE(run());
    EXPECT_THAT(records(), ElementsAre(Ready::What::completed));
    parts().queue.retire(op);
    const Operation& heir = started(socket, OperationKind::receive);
    ASSERT_EQ(heir.id.slot, gone.slot);
    backend.deliver(gone, 9);
    EXPECT_FALSE(run());
    EXPECT_EQ(counts().late, 1U);
    EXPECT_FALSE(heir.finished()) << "it has the slot, not the name";
    EXPECT_THAT(records(), IsEmpty());
}

TEST_F(TurnTest, APacketOfALaneThatWaitsForNoneIsDropped) {
    Socket& socket = open_socket();
    started(socket, OperationKind::receive);
    const Operation& behind = posted(socket, OperationKind::receive);
    backend.deliver(behind.id, 7);
    const Operation& unstarted = posted(socket, OperationKind::send);
    backend.deliver(unstarted.id, 7);
    EXPECT_FALSE(run());
    EXPECT_EQ(counts().late, 2U);
    EXPECT_FALSE(behind.finished());
    EXPECT_FALSE(unstarted.finished());
}

TEST_F(TurnTest, TheConnectionOfALatePacketIsClosed) {
    Packet packet;
    packet.operation = {.slot = 0, .generation = 9};
    packet.accepted = backend.make_handle();
    const Handle handle = packet.accepted;
    backend.deliver(std::move(packet));
    EXPECT_FALSE(run());
    EXPECT_EQ(counts().late, 1U);
    EXPECT_FALSE(backend.is_open(handle));
}

TEST_F(TurnTest, AThreadThatMayNotRunTheBackendChangesNothing) {
    Socket& socket = open_socket();
    const Operation& op = started(socket, OperationKind::receive);
    backend.deliver(op.id, 7);
    backend.claimable = false;
    EXPECT_EQ(run().fault, Fault::wrong_thread);
    EXPECT_THAT(backend.waits, IsEmpty());
    EXPECT_FALSE(op.finished());
    backend.claimable = true;
    EXPECT_FALSE(run());
    EXPECT_TRUE(op.finished());
}

TEST_F(TurnTest, ACallThatChangesSomethingWakesTheSleeperOnce) {
    backend.on_wait = [this] {
        const std::lock_guard lock(mutex_);
        turn().conclude(false);
        EXPECT_EQ(backend.wakes, 0) << "nothing has changed";
        turn().conclude();
        turn().conclude();
        EXPECT_EQ(backend.wakes, 1) << "it is awake already";
    };
    EXPECT_FALSE(run_until(backend.time + 500));
    turn().conclude();
    EXPECT_EQ(backend.wakes, 1) << "no thread sleeps now";
}

TEST_F(TurnTest, ACallThatLeavesEffectsWakesTheSleeper) {
    Socket& socket = open_socket();
    const Operation& op = posted(socket, OperationKind::receive);
    backend.on_wait = [&] {
        const std::lock_guard lock(mutex_);
        parts().work.add(socket, effect::start_receiving);
        turn().conclude(false);
        EXPECT_NE(backend.request_of(op.id), nullptr);
        EXPECT_EQ(backend.wakes, 1);
    };
    EXPECT_FALSE(run_until(backend.time + 500));
}

TEST_F(TurnTest, AWakeBeforeTheWaitEndsThatWaitAlone) {
    turn().wake();
    EXPECT_FALSE(run_until(-1));
    EXPECT_EQ(backend.waits.back(), 0);
    EXPECT_FALSE(run_until(backend.time + 500));
    EXPECT_EQ(backend.waits.back(), 500);
}

TEST_F(TurnTest, TheRequestsOfAnEndedThreadAreStartedAgainByTheNext) {
    Socket& socket = open_socket();
    const Operation& op = started(socket, OperationKind::receive);
    backend.lose_requests();
    EXPECT_FALSE(run());
    EXPECT_EQ(backend.count("start:receive"), 2U);
    EXPECT_NE(backend.request_of(op.id), nullptr);
    EXPECT_FALSE(op.finished());
}

}  // namespace
}  // namespace iocp::scripted
