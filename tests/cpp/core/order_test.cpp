// A socket's operations happen in posting order (R30), and a stream has no holes (R04).
#include <algorithm>
#include <random>

#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class OrderTest : public CoreTest {};

TEST_F(OrderTest, TheKernelHoldsOneReceiveAtATime) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    const Posted& b = receive(socket);
    const Posted& c = receive(socket);
    ASSERT_EQ(backend().held().size(), 1U);
    EXPECT_NE(backend().request_of(a.id), nullptr);
    backend().deliver(a.id, 1);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_NE(backend().request_of(b.id), nullptr);
    EXPECT_EQ(b.state(), State::pending);
    EXPECT_EQ(c.state(), State::queued);
    backend().deliver(b.id, 2);
    turn();
    backend().deliver(c.id, 3);
    turn();
    EXPECT_LT(a.order, b.order);
    EXPECT_LT(b.order, c.order);
    EXPECT_EQ(c.transferred, 3U);
}

TEST_F(OrderTest, WhatIsDoneWhenStartedLetsTheNextFollowAtOnce) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    const Posted& b = receive(socket);
    const Posted& c = receive(socket);
    backend().on(socket).starts = {done(20), done(30)};
    backend().deliver(a.id, 10);
    turn();
    EXPECT_TRUE(a.succeeded() && b.succeeded() && c.succeeded());
    EXPECT_EQ(b.transferred, 20U);
    EXPECT_EQ(c.transferred, 30U);
    EXPECT_LT(b.order, c.order);
}

TEST_F(OrderTest, AFailedReceiveDoesNotFailTheNext) {
    Socket& socket = open_socket();
    const Posted& a = receive(socket);
    const Posted& b = receive(socket);
    backend().deliver(a.id, -code_plain);
    turn();
    EXPECT_EQ(a.error.code, code_plain);
    EXPECT_EQ(b.completions, 0);
    EXPECT_NE(backend().request_of(b.id), nullptr);
}

TEST_F(OrderTest, SendsThatWaitedShareOneRequest) {
    Socket& socket = open_socket();
    const Posted& first = send(socket, {.length = 10});
    const Posted& a = send(socket, {.length = 20});
    const Posted& b = send(socket, {.length = 30});
    const Posted& c = send(socket, {.length = 40});
    backend().deliver(first.id, 10);
    turn();
    const Request* request = backend().request_of(a.id);
    ASSERT_NE(request, nullptr);
    EXPECT_EQ(request->count, 3U);
    EXPECT_EQ(request->bytes, 90U);
    EXPECT_EQ(b.state(), State::pending);
    EXPECT_EQ(c.state(), State::pending);
    backend().deliver(a.id, 90);
    turn();
    EXPECT_TRUE(a.succeeded() && b.succeeded() && c.succeeded());
    EXPECT_EQ(a.transferred, 20U);
    EXPECT_EQ(b.transferred, 30U);
    EXPECT_EQ(c.transferred, 40U);
    EXPECT_LT(a.order, b.order);
    EXPECT_LT(b.order, c.order);
}

TEST_F(OrderTest, BatchedSendsOfOneTurnShareOneRequest) {
    Socket& socket = open_socket();
    std::vector<Posted*> sends;
    for (int i = 0; i < 8; ++i) {
        sends.push_back(&send(socket, {.length = 100, .batched = true}));
    }
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send*8"));
    backend().deliver(sends[0]->id, 800);
    turn();
    for (const Posted* op : sends) {
        EXPECT_TRUE(op->succeeded());
        EXPECT_EQ(op->transferred, 100U);
    }
    const PortCounts counts = locked([&] { return port().figures().counts(); });
    EXPECT_EQ(counts.flushes, 1U);
    EXPECT_EQ(counts.sends, 8U);
}

TEST_F(OrderTest, SendsOfASubscribedStreamShareARequest) {
    Socket& socket = open_socket();
    Posted& subscription =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    turn();
    const Posted& a = send(socket, {.length = 100});
    const Posted& b = send(socket, {.length = 100});
    EXPECT_EQ(a.outcome, Outcome::queued);
    turn();
    EXPECT_THAT(calls(socket), Contains("start:send*2"));
    EXPECT_THAT(calls(socket), Not(Contains("attempt:send")));
    backend().deliver(a.id, 200);
    cancel(subscription);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_TRUE(b.succeeded());
    EXPECT_TRUE(subscription.completed());
    send(socket, {.length = 100});
    EXPECT_THAT(calls(socket), Contains("attempt:send")) << "its completion was handed out";
}

TEST_F(OrderTest, PartialProgressIsSharedInOrderAndTheRestGoesOn) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 100, .batched = true});
    const Posted& b = send(socket, {.length = 100, .batched = true});
    const Posted& c = send(socket, {.length = 100, .batched = true});
    turn();
    backend().deliver(a.id, 150);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_EQ(b.completions, 0);
    EXPECT_EQ(c.completions, 0);
    const Request* request = backend().request_of(b.id);
    ASSERT_NE(request, nullptr) << "what is left starts where it stands";
    EXPECT_EQ(request->count, 2U);
    EXPECT_EQ(request->bytes, 150U);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver(b.id, 50);
    turn();
    EXPECT_TRUE(b.succeeded());
    EXPECT_EQ(b.transferred, 100U);
    EXPECT_EQ(c.completions, 0);
    backend().deliver(c.id, 100);
    turn();
    EXPECT_TRUE(c.succeeded());
}

TEST_F(OrderTest, PartialProgressAtEveryPossibleByteLosesNone) {
    for (std::int64_t went = 1; went < 30; ++went) {
        Socket& socket = open_socket();
        const Posted& a = send(socket, {.length = 10, .batched = true});
        const Posted& b = send(socket, {.batched = true, .parts = {3, 0, 7}});
        const Posted& c = send(socket, {.length = 10, .batched = true});
        turn();
        backend().deliver(a.id, went);
        turn();
        const Posted& head = went < 10 ? a : (went < 20 ? b : c);
        const Request* request = backend().request_of(head.id);
        ASSERT_NE(request, nullptr) << went;
        EXPECT_EQ(request->bytes, static_cast<std::size_t>(30 - went));
        backend().deliver(head.id, 30 - went);
        turn();
        EXPECT_TRUE(a.succeeded() && b.succeeded() && c.succeeded()) << went;
        EXPECT_EQ(a.transferred + b.transferred + c.transferred, 30U);
    }
}

TEST_F(OrderTest, EmptySendsCompleteInTheirPlace) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 0, .batched = true});
    const Posted& b = send(socket, {.length = 5, .batched = true});
    const Posted& c = send(socket, {.length = 0, .batched = true});
    turn();
    backend().deliver(a.id, 5);
    turn();
    if (c.completions == 0) {
        const Request* request = backend().request_of(c.id);
        ASSERT_NE(request, nullptr);
        backend().deliver(c.id, 0);
        turn();
    }
    EXPECT_TRUE(a.succeeded() && b.succeeded() && c.succeeded());
    EXPECT_LT(a.order, b.order);
    EXPECT_LT(b.order, c.order);
}

TEST_F(OrderTest, DatagramsAreNeverJoined) {
    Socket& socket = open_socket(false);
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 10});
    const Posted& c = send(socket, {.length = 10});
    EXPECT_EQ(backend().started.back().count, 1U);
    backend().deliver(a.id, 10);
    turn();
    EXPECT_EQ(backend().started.back().count, 1U);
    backend().deliver(b.id, 4);
    turn();
    EXPECT_TRUE(b.succeeded()) << "a datagram went out whole or not at all; the count is reported";
    EXPECT_EQ(b.transferred, 4U);
    backend().deliver(c.id, 10);
    turn();
    EXPECT_TRUE(c.succeeded());
}

TEST_F(OrderTest, AFailedDatagramDoesNotFailTheNext) {
    Socket& socket = open_socket(false);
    const Posted& a = send(socket, {.length = 10});
    const Posted& b = send(socket, {.length = 10});
    backend().deliver(a.id, -code_plain);
    turn();
    EXPECT_EQ(a.error.code, code_plain);
    EXPECT_EQ(b.completions, 0);
    backend().deliver(b.id, 10);
    turn();
    EXPECT_TRUE(b.succeeded());
}

TEST_F(OrderTest, SendsWithDifferentFlagsAreNotJoined) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 1, .batched = true});
    send(socket, {.length = 1, .batched = true});
    const Posted& flagged = send(socket, {.length = 1, .batched = true, .flags = 4});
    turn();
    EXPECT_EQ(backend().started.back().count, 2U);
    backend().deliver(a.id, 2);
    turn();
    EXPECT_EQ(backend().started.back().count, 1U);
    EXPECT_NE(backend().request_of(flagged.id), nullptr);
}

TEST_F(OrderTest, ARequestCarriesABoundedNumberOfSends) {
    Socket& socket = open_socket();
    std::vector<Posted*> sends;
    for (int i = 0; i < 500; ++i) {
        sends.push_back(&send(socket, {.length = 1, .batched = true}));
    }
    turn();
    std::size_t requests = 0;
    while (!backend().held().empty()) {
        ++requests;
        const Request request = backend().held().front();
        EXPECT_LE(request.count, 64U);
        backend().deliver(request.operation, static_cast<std::int64_t>(request.bytes));
        turn();
    }
    EXPECT_EQ(requests, 8U);
    int order = -1;
    for (const Posted* op : sends) {
        EXPECT_TRUE(op->succeeded());
        EXPECT_GT(op->order, order);
        order = op->order;
    }
}

TEST_F(OrderTest, OneSendOfManyPartsGoesAlone) {
    Socket& socket = open_socket();
    const Posted& wide = send(socket, {.batched = true, .parts = std::vector<std::size_t>(100, 1)});
    send(socket, {.length = 1, .batched = true});
    turn();
    EXPECT_EQ(backend().started.back().count, 1U);
    EXPECT_NE(backend().request_of(wide.id), nullptr);
}

TEST_F(OrderTest, ASendCutPartWayRefusesTheRest) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 100});
    const Posted& b = send(socket, {.length = 100});
    backend().deliver(a.id, 60);
    turn();
    backend().deliver(a.id, -code_plain);
    turn();
    EXPECT_EQ(a.error.code, code_plain);
    EXPECT_EQ(a.transferred, 60U) << "the bytes that were sent are reported";
    EXPECT_TRUE(b.completed());
    EXPECT_TRUE(b.error);
    EXPECT_EQ(b.transferred, 0U);
    const Posted& later = send(socket);
    EXPECT_FALSE(later.accepted) << "nothing may follow bytes that did not go";
    EXPECT_EQ(later.refusal.fault, Fault::socket_closed);
    EXPECT_TRUE(receive(socket).accepted);
}

TEST_F(OrderTest, ASendThatFailsWholeRefusesWhatIsQueuedButNotWhatIsPostedLater) {
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 100});
    const Posted& b = send(socket, {.length = 100});
    backend().deliver(a.id, -code_exhausted);
    turn();
    EXPECT_EQ(a.error.fault, Fault::resource);
    EXPECT_TRUE(b.completed());
    EXPECT_TRUE(b.error) << "it would overtake bytes that did not go";
    EXPECT_TRUE(send(socket).accepted);
}

TEST_F(OrderTest, AnErrorThatOnlyAShortSendShowsReleasesBothDirections) {
    Socket& socket = open_socket();
    const Posted& incoming = receive(socket);
    const Posted& a = send(socket, {.length = 10, .batched = true});
    const Posted& b = send(socket, {.length = 10, .batched = true});
    turn();
    backend().swallows = code_fatal;
    backend().deliver(a.id, 15);
    backend().deliver(incoming.id, 0);
    turn();
    EXPECT_TRUE(a.succeeded());
    EXPECT_EQ(b.error.code, code_fatal);
    EXPECT_EQ(b.transferred, 5U);
    EXPECT_EQ(incoming.error.code, code_fatal) << "no end of the stream";
    EXPECT_EQ(charged(), 0U);
}

TEST_F(OrderTest, AWholeSendShowsNoError) {
    Socket& socket = open_socket();
    const Posted& op = send(socket);
    backend().swallows = code_fatal;
    backend().deliver(op.id, static_cast<std::int64_t>(op.core->remaining()));
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(socket.state, SocketState::open);
}

TEST_F(OrderTest, AFatalErrorReleasesBothDirections) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket);
    const Posted& t = send(socket);
    backend().deliver(r.id, -code_fatal);
    turns(2);
    EXPECT_EQ(r.error.code, code_fatal);
    EXPECT_TRUE(s.completed() && t.completed());
    EXPECT_EQ(s.error.code, code_fatal);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
}

TEST_F(OrderTest, NoBytesAfterAFatalErrorAreNoEndOfStream) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket);
    Socket& other = open_socket();
    const Posted& stream =
        post(other, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    const Posted& t = send(other);
    turn();  // the flush starts the send of the subscribed stream
    backend().deliver(s.id, -code_fatal);
    backend().deliver(r.id, 0);
    backend().deliver(t.id, -code_fatal);
    backend().deliver(stream.id, 0);
    turns(2);
    EXPECT_EQ(r.error.code, code_fatal);
    EXPECT_EQ(stream.error.code, code_fatal);
    EXPECT_EQ(stream.ends, 0);
    EXPECT_EQ(closed.size(), 2U);
}

TEST_F(OrderTest, AnErrorThatIsNotFatalEndsOneOperation) {
    Socket& socket = open_socket();
    const Posted& r = receive(socket);
    const Posted& s = send(socket);
    backend().deliver(r.id, -code_exhausted);
    turn();
    EXPECT_EQ(r.error.fault, Fault::resource);
    EXPECT_EQ(s.completions, 0);
    EXPECT_EQ(socket.state, SocketState::open);
    EXPECT_THAT(closed, IsEmpty());
}

class LateTest : public CoreTest {};

TEST_F(LateTest, APacketOfADeadOperationIsDropped) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    const SlotId old = op.id;
    backend().deliver(old, 5);
    backend().deliver(old, 6);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 5U);
    EXPECT_EQ(port().figures().counts().late, 1U);
}

TEST_F(LateTest, APacketOfAnEarlierGenerationDoesNotReachTheNextTenantOfItsSlot) {
    Socket& socket = open_socket();
    const SlotId old = receive(socket).id;
    backend().deliver(old, 5);
    turn();
    const Posted& next = receive(socket);
    ASSERT_EQ(next.id.slot, old.slot);
    ASSERT_NE(next.id.generation, old.generation);
    backend().deliver(old, 99);
    turn();
    EXPECT_EQ(next.completions, 0);
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(port().figures().counts().late, 1U);
}

TEST_F(LateTest, PacketsOfNobodyAreDropped) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    for (const SlotId id : {SlotId{7, 7}, SlotId{1'000'000, 0}, SlotId{~0U, ~0U},
                            SlotId{op.id.slot, op.id.generation + 1}}) {
        backend().deliver(id, 1);
        backend().deliver(id, -code_fatal);
        backend().deliver_ready(id);
    }
    turn();
    EXPECT_EQ(port().figures().counts().late, 12U);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(socket.state, SocketState::open);
}

TEST_F(LateTest, APacketOfAnOperationTheKernelDoesNotHoldIsDropped) {
    Socket& socket = open_socket();
    receive(socket);
    const Posted& queued = receive(socket);
    backend().deliver(queued.id, 5);
    turn();
    EXPECT_EQ(queued.completions, 0);
    EXPECT_EQ(port().figures().counts().late, 1U);
}

TEST_F(LateTest, AConnectionThatComesTooLateIsClosed) {
    Socket& listener = open_socket();
    const SlotId old = post(listener, OperationKind::accept).id;
    backend().deliver(old, -code_plain);
    turn();
    Packet late;
    late.operation = old;
    late.accepted = backend().make_handle();
    const Handle handle = late.accepted;
    backend().deliver(std::move(late));
    turn();
    EXPECT_FALSE(backend().is_open(handle));
    if (backend().is_open(handle)) {
        expected_handles = 1;
    }
}

TEST_F(LateTest, PacketsTakenInAnyOrderFinishEachItsOwn) {
    std::vector<Posted*> all;
    for (int i = 0; i < 64; ++i) {
        Socket& socket = open_socket();
        all.push_back(&receive(socket));
        all.push_back(&send(socket, {.length = 4096}));
    }
    std::mt19937 random(5);
    std::shuffle(all.begin(), all.end(), random);
    for (std::size_t i = 0; i < all.size(); ++i) {
        backend().deliver(all[i]->id, all[i]->outcome == Outcome::pending ? 4096 : 0);
        if (i % 5 == 4) {
            turn();
        }
    }
    turn();
    for (const Posted* op : all) {
        EXPECT_TRUE(op->succeeded());
        EXPECT_EQ(op->transferred, 4096U);
    }
}

}  // namespace
}  // namespace iocp::scripted
