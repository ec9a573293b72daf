// Posts: their outcomes (R01), and the order in which a post is tried, charged and started.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SubmitTest : public CoreTest {};

TEST_F(SubmitTest, AReceiveThatFindsDataIsDoneAndLocksNothing) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(100)};
    const Posted& op = receive(socket);
    EXPECT_EQ(op.outcome, Outcome::done);
    EXPECT_EQ(op.completions, 0) << "its completion comes later, never inside the post";
    EXPECT_EQ(view().peak, 0U);
    EXPECT_THAT(calls(socket), ElementsAre("attempt:receive"));
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 100U);
}

TEST_F(SubmitTest, AReceiveThatWouldBlockIsPendingAndChargedUntilItsPacketIsTaken) {
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(op.state(), State::pending);
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(view().receive, page());
    EXPECT_THAT(calls(socket), ElementsAre("attempt:receive", "start:receive"));
    backend().deliver(op.id, 7);
    EXPECT_EQ(charged(), page()) << "delivered by the kernel is not yet taken by the core";
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 7U);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(view().peak, page());
}

TEST_F(SubmitTest, TheChargeStandsBeforeTheKernelHears) {
    Socket& socket = open_socket();
    std::uint32_t pages = 99;
    backend().on_start = [&](const Operation& op) { pages = op.receipt.pages(); };
    receive(socket, {.length = 2 * page()});
    EXPECT_EQ(pages, 2U);
}

TEST_F(SubmitTest, APostTheSystemRefusesLeavesNothing) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {failed(code_plain)};
    const Posted& op = receive(socket);
    EXPECT_FALSE(op.accepted);
    EXPECT_EQ(op.refusal.fault, Fault::system);
    EXPECT_EQ(op.refusal.code, code_plain);
    EXPECT_EQ(port().operations().outstanding(), 0U);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(socket.state, SocketState::open);
    turn();
    EXPECT_THAT(closed, IsEmpty());
    EXPECT_TRUE(receive(socket).accepted) << "the socket goes on";
}

TEST_F(SubmitTest, ARefusalForLackOfResourcesSaysSo) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {failed(code_exhausted)};
    const Posted& op = send(socket);
    EXPECT_EQ(op.refusal.fault, Fault::resource);
    EXPECT_EQ(op.refusal.code, code_exhausted);
    EXPECT_TRUE(send(socket).accepted) << "it can be posted again";
}

TEST_F(SubmitTest, AFatalErrorOfAPostReleasesAllThatTheSocketHolds) {
    Socket& socket = open_socket();
    const Handle handle = socket.handle;
    const Posted& pending = receive(socket);
    const Posted& behind = receive(socket);
    EXPECT_EQ(charged(), 2 * page());
    backend().on(socket).attempts = {failed(code_fatal)};
    const Posted& op = send(socket);
    EXPECT_FALSE(op.accepted);
    EXPECT_EQ(op.refusal.code, code_fatal);
    turns(2);
    EXPECT_TRUE(pending.completed());
    EXPECT_EQ(pending.error.code, code_fatal);
    EXPECT_TRUE(behind.completed());
    EXPECT_EQ(behind.error.code, code_fatal);
    EXPECT_EQ(charged(), 0U);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_fatal);
    EXPECT_FALSE(backend().is_open(handle));
}

TEST_F(SubmitTest, ASendThatFitsIsDone) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(4096)};
    const Posted& op = send(socket);
    EXPECT_EQ(op.outcome, Outcome::done);
    EXPECT_EQ(view().peak, 0U);
    turn();
    EXPECT_EQ(op.transferred, 4096U);
}

TEST_F(SubmitTest, OfASendThatFitsInPartOnlyTheRestIsCharged) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(static_cast<std::int64_t>(2 * page()))};
    const Posted& op = send(socket, {.length = 5 * page()});
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(charged(), 3 * page());
    EXPECT_EQ(view().send, 3 * page());
    ASSERT_EQ(backend().started.size(), 1U);
    EXPECT_EQ(backend().started[0].bytes, 3 * page());
    backend().deliver(op.id, static_cast<std::int64_t>(3 * page()));
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 5 * page());
}

TEST_F(SubmitTest, ADatagramIsNeverContinued) {
    Socket& socket = open_socket(false);
    backend().on(socket).attempts = {done(10)};
    const Posted& op = send(socket, {.length = 100});
    EXPECT_EQ(op.outcome, Outcome::done);
    turn();
    EXPECT_EQ(op.transferred, 10U);
    EXPECT_THAT(backend().started, IsEmpty());
}

TEST_F(SubmitTest, AZeroByteReceiveLocksNothing) {
    Socket& socket = open_socket();
    const Posted& op = post(socket, OperationKind::zero_byte);
    EXPECT_EQ(op.outcome, Outcome::pending);
    EXPECT_EQ(charged(), 0U);
    backend().deliver(op.id, 0);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 0U);
    EXPECT_EQ(view().peak, 0U);
}

TEST_F(SubmitTest, AZeroByteReceiveWithDataThereIsDone) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(0)};
    const Posted& op = post(socket, OperationKind::zero_byte);
    EXPECT_EQ(op.outcome, Outcome::done);
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(SubmitTest, EveryTouchedPageIsCharged) {
    Socket& socket = open_socket();
    const Posted& one = receive(socket, {.length = 1, .offset = page() - 1});
    EXPECT_EQ(charged(), page());
    const Posted& two = receive(socket, {.length = 2, .offset = page() - 1});
    EXPECT_EQ(charged(), 3 * page());
    const Posted& three = send(socket, {.length = page() + 2, .offset = page() - 1});
    EXPECT_EQ(charged(), 6 * page());
    EXPECT_EQ(socket.charged_pages, 6U);
    EXPECT_TRUE(one.accepted && two.accepted && three.accepted);
}

TEST_F(SubmitTest, PartsOfAGatheredSendAreSummed) {
    Socket& socket = open_socket();
    const Posted& op = send(socket, {.parts = {1, page() + 1, 0, 10}});
    EXPECT_EQ(charged(), 4 * page());
    backend().deliver(op.id, static_cast<std::int64_t>(page() + 12));
    turn();
    EXPECT_TRUE(op.succeeded());
}

TEST_F(SubmitTest, OfAGatheredSendTheRestIsCountedFromWhereItStands) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(static_cast<std::int64_t>(page() + 1))};
    send(socket, {.parts = {page(), page(), page()}});
    EXPECT_EQ(charged(), 2 * page());
}

TEST_F(SubmitTest, BehindAnotherOfItsDirectionAPostIsQueuedAndNotTried) {
    Socket& socket = open_socket();
    receive(socket);
    const Posted& second = receive(socket);
    EXPECT_EQ(second.outcome, Outcome::queued);
    EXPECT_EQ(second.state(), State::queued);
    EXPECT_EQ(charged(), 2 * page()) << "an accepted post is charged even while it is queued";
    EXPECT_EQ(view().queued, page());
    EXPECT_EQ(view().pending, page());
    EXPECT_EQ(backend().count("attempt:receive"), 1U);
    const Posted& third = send(socket);
    EXPECT_EQ(third.outcome, Outcome::pending) << "the other direction is not in its way";
}

TEST_F(SubmitTest, ABatchedSendWaitsForTheNextTurn) {
    Socket& socket = open_socket();
    const Posted& op = send(socket, {.batched = true});
    EXPECT_EQ(op.outcome, Outcome::queued);
    EXPECT_THAT(calls(socket), IsEmpty());
    EXPECT_EQ(charged(), page());
    turn();
    EXPECT_EQ(op.state(), State::pending);
    EXPECT_THAT(calls(socket), ElementsAre("start:send"));
}

TEST_F(SubmitTest, ASendThatIsDoneWhenStartedCompletesOnce) {
    Socket& socket = open_socket();
    backend().on(socket).starts = {done(4096)};
    const Posted& op = send(socket, {.batched = true});
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(op.transferred, 4096U);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(SubmitTest, AStartThatFailsAfterTheTryGivesACompletion) {
    Socket& socket = open_socket();
    backend().on(socket).starts = {failed(code_plain)};
    const Posted& op = receive(socket);
    EXPECT_TRUE(op.accepted);
    turn();
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(socket.state, SocketState::open);
}

TEST_F(SubmitTest, AConnectIsStartedWithoutATryAndChargesNothing) {
    Socket& socket = open_socket();
    socket.connected = false;
    const Posted& op = post(socket, OperationKind::connect);
    EXPECT_THAT(calls(socket), ElementsAre("start:connect"));
    EXPECT_EQ(charged(), 0U);
    backend().deliver(op.id, 0);
    turn();
    EXPECT_TRUE(op.succeeded());
    EXPECT_TRUE(socket.connected);
}

TEST_F(SubmitTest, SendsBehindAConnectGoOutWhenItIsThere) {
    Socket& socket = open_socket();
    const Posted& connect = post(socket, OperationKind::connect);
    const Posted& first = send(socket);
    const Posted& second = send(socket);
    EXPECT_EQ(first.outcome, Outcome::queued);
    backend().deliver(connect.id, 0);
    turn();
    EXPECT_TRUE(connect.succeeded());
    EXPECT_EQ(backend().started.back().count, 2U);
    backend().deliver(first.id, 8192);
    turn();
    EXPECT_TRUE(first.succeeded());
    EXPECT_TRUE(second.succeeded());
}

TEST_F(SubmitTest, SendsBehindARefusedConnectFailWithItsError) {
    Socket& socket = open_socket();
    socket.connected = false;
    const Posted& connect = post(socket, OperationKind::connect);
    const Posted& behind = send(socket);
    backend().deliver(connect.id, -code_plain);
    turn();
    EXPECT_EQ(connect.error.code, code_plain);
    EXPECT_TRUE(behind.completed());
    EXPECT_EQ(behind.error.code, code_plain);
    EXPECT_EQ(charged(), 0U);
}

TEST_F(SubmitTest, AnAcceptGivesASocketOfTheSamePort) {
    Socket& listener = open_socket();
    const Handle handle = backend().make_handle();
    backend().on(listener).attempts = {connection(handle)};
    const Posted& op = post(listener, OperationKind::accept);
    EXPECT_EQ(op.outcome, Outcome::done);
    turn();
    ASSERT_NE(op.connection, nullptr);
    EXPECT_EQ(op.connection->handle, handle);
    EXPECT_TRUE(op.connection->stream);
    EXPECT_TRUE(op.connection->connected);
    EXPECT_EQ(port().sockets().open_count(), 2U);
}

TEST_F(SubmitTest, AReadyPacketStartsAnAcceptAgain) {
    Socket& listener = open_socket();
    const Posted& op = post(listener, OperationKind::accept);
    backend().deliver_ready(op.id);
    const Handle handle = backend().make_handle();
    backend().on(listener).starts = {connection(handle)};
    turn();
    EXPECT_TRUE(op.succeeded());
    ASSERT_NE(op.connection, nullptr);
    EXPECT_EQ(op.connection->handle, handle);
}

TEST_F(SubmitTest, AReadyPacketThatFoundNothingWaitsAgain) {
    Socket& listener = open_socket();
    const Posted& op = post(listener, OperationKind::accept);
    for (int i = 0; i < 5; ++i) {
        backend().deliver_ready(op.id);
        turn();
        EXPECT_EQ(op.completions, 0);
        EXPECT_EQ(backend().held().size(), 1U);
    }
}

TEST_F(SubmitTest, PostsOfOneSocketAreNumberedInPostingOrder) {
    Socket& socket = open_socket();
    Socket& other = open_socket();
    backend().on(socket).attempts = {pending(), done(1)};
    const std::uint32_t first = receive(socket).sequence;
    const std::uint32_t second = send(socket, {.length = 1}).sequence;
    const std::uint32_t third = receive(socket).sequence;
    EXPECT_EQ(second, first + 1);
    EXPECT_EQ(third, first + 2);
    EXPECT_EQ(receive(other).sequence, first);
}

TEST_F(SubmitTest, OneThreadPostsToManyTargetsBeforeAnyCompletes) {
    std::vector<Posted*> all;
    for (int i = 0; i < 200; ++i) {
        all.push_back(&receive(open_socket()));
    }
    EXPECT_EQ(port().operations().outstanding(), 200U);
    EXPECT_EQ(charged(), 200 * page());
    for (auto at = all.rbegin(); at != all.rend(); ++at) {
        backend().deliver((*at)->id, 1);
    }
    turn();
    for (const Posted* op : all) {
        EXPECT_TRUE(op->succeeded());
    }
}

class RefusedPostTest : public CoreTest {
protected:
    void expect_refused(const Posted& op, Fault fault) {
        EXPECT_FALSE(op.accepted);
        EXPECT_EQ(op.refusal.fault, fault);
        EXPECT_NE(op.refusal.text, nullptr) << "a refusal says what to do";
        EXPECT_EQ(charged(), charged_before_);
    }
    void remember() { charged_before_ = charged(); }

private:
    std::uint64_t charged_before_{0};
};

TEST_F(RefusedPostTest, ToAClosedSocket) {
    Socket& socket = open_socket();
    close(socket);
    expect_refused(receive(socket), Fault::socket_closed);
    expect_refused(send(socket), Fault::socket_closed);
}

TEST_F(RefusedPostTest, ToASocketThatIsClosing) {
    Socket& socket = open_socket();
    send(socket);
    close(socket, 1'000'000);
    ASSERT_EQ(socket.state, SocketState::draining);
    remember();
    expect_refused(send(socket), Fault::socket_closed);
    expect_refused(receive(socket), Fault::socket_closed);
}

TEST_F(RefusedPostTest, ToAClosedPort) {
    Socket& socket = open_socket();
    locked([&] { port().begin_close(0); });
    expect_refused(receive(socket), Fault::port_closed);
    Socket* out = nullptr;
    EXPECT_EQ(locked([&] { return port().sockets().open(family_inet, type_stream, 0, out); }).fault,
              Fault::port_closed);
    EXPECT_EQ(locked([&] { return port().operations().post_packet(nullptr); }).fault,
              Fault::port_closed);
}

TEST_F(RefusedPostTest, SendsAfterAShutdownForWriting) {
    Socket& socket = open_socket();
    EXPECT_FALSE(locked([&] { return port().sockets().shutdown(socket, false, true); }));
    expect_refused(send(socket), Fault::socket_closed);
    EXPECT_TRUE(receive(socket).accepted) << "the other direction goes on";
}

TEST_F(RefusedPostTest, SingleReceivesBesideASubscription) {
    Socket& socket = open_socket();
    post(socket, OperationKind::receive_each);
    expect_refused(receive(socket), Fault::argument);
    expect_refused(post(socket, OperationKind::zero_byte), Fault::argument);
    expect_refused(post(socket, OperationKind::receive_each), Fault::argument);
    EXPECT_TRUE(send(socket).accepted);
}

TEST_F(RefusedPostTest, ASubscriptionBehindSingleReceives) {
    Socket& socket = open_socket();
    receive(socket);
    remember();
    expect_refused(post(socket, OperationKind::receive_each), Fault::argument);
}

TEST_F(RefusedPostTest, AStreamSubscriptionOfDatagrams) {
    expect_refused(post(open_socket(false), OperationKind::receive_each), Fault::argument);
}

TEST_F(RefusedPostTest, AStreamSubscriptionOfASocketThatIsNotConnected) {
    Socket& socket = open_socket();
    socket.connected = false;
    expect_refused(post(socket, OperationKind::receive_each), Fault::argument);
    post(socket, OperationKind::connect);
    EXPECT_TRUE(post(socket, OperationKind::receive_each).accepted) << "it is on its way";
}

class OpenTest : public CoreTest {};

TEST_F(OpenTest, ARefusedSocketIsNoSocket) {
    Socket* out = nullptr;
    backend().next_open_error = code_exhausted;
    const Error error =
        locked([&] { return port().sockets().open(family_inet, type_stream, 0, out); });
    EXPECT_EQ(error.fault, Fault::resource);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

TEST_F(OpenTest, AnOpenedHandleThatCannotBeDescribedIsClosed) {
    Socket* out = nullptr;
    backend().next_describe_error = code_plain;
    EXPECT_TRUE(locked([&] { return port().sockets().open(family_inet, type_stream, 0, out); }));
    EXPECT_EQ(backend().open_handles(), 0U);
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

TEST_F(OpenTest, AnAdoptedHandleThatCannotBeDescribedStaysItsOwners) {
    const Handle handle = backend().make_handle();
    Socket* out = nullptr;
    backend().next_describe_error = code_plain;
    EXPECT_TRUE(locked([&] { return port().sockets().adopt({handle}, out); }));
    EXPECT_TRUE(backend().is_open(handle));
    EXPECT_EQ(port().sockets().open_count(), 0U);
    expected_handles = 1;
}

class TryTest : public CoreTest {};

TEST_F(TryTest, NeverPendsAndNeverPosts) {
    Socket& socket = open_socket();
    std::array<std::byte, 64> data{};
    std::int64_t count = 0;
    backend().on(socket).reads = {done(9)};
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_receive(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, 9);
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_receive(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, -1);
    backend().on(socket).attempts = {done(5)};
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_send(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, 5);
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_send(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, 0);
    EXPECT_EQ(port().operations().outstanding(), 0U);
    EXPECT_EQ(view().peak, 0U);
}

TEST_F(TryTest, DoesNotOvertakePosts) {
    Socket& socket = open_socket();
    receive(socket);
    send(socket);
    forget_calls();
    std::array<std::byte, 64> data{};
    std::int64_t count = 0;
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_receive(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, -1);
    EXPECT_FALSE(locked(
        [&] { return port().operations().try_send(socket, data.data(), data.size(), count); }));
    EXPECT_EQ(count, 0);
    EXPECT_THAT(calls(socket), IsEmpty());
}

TEST_F(TryTest, ReportsWhatTheSystemSays) {
    Socket& socket = open_socket();
    std::array<std::byte, 8> data{};
    std::int64_t count = 0;
    backend().on(socket).reads = {failed(code_plain)};
    EXPECT_EQ(locked([&] {
                  return port().operations().try_receive(socket, data.data(), data.size(), count);
              }).code,
              code_plain);
    backend().on(socket).attempts = {failed(code_exhausted)};
    EXPECT_EQ(locked([&] {
                  return port().operations().try_send(socket, data.data(), data.size(), count);
              }).fault,
              Fault::resource);
}

TEST_F(TryTest, AFatalErrorReleasesAllThatTheSocketHolds) {
    std::array<std::byte, 100> data{};
    std::int64_t count = 0;
    for (const bool sending : {true, false}) {
        Socket& socket = open_socket();
        const Handle handle = socket.handle;
        const Posted& pending = sending ? receive(socket) : send(socket);
        auto& answers = sending ? backend().on(socket).attempts : backend().on(socket).reads;
        answers = {failed(code_fatal)};
        const Error error = locked([&] {
            return sending
                       ? port().operations().try_send(socket, data.data(), data.size(), count)
                       : port().operations().try_receive(socket, data.data(), data.size(), count);
        });
        EXPECT_EQ(error.code, code_fatal);
        EXPECT_NE(socket.state, SocketState::open);
        turns(2);
        EXPECT_EQ(pending.error.code, code_fatal);
        EXPECT_FALSE(backend().is_open(handle));
        ASSERT_FALSE(closed.empty());
        EXPECT_EQ(closed.back().failure.code, code_fatal);
        EXPECT_EQ(charged(), 0U);
    }
}

TEST_F(SubmitTest, AFatalErrorOfAnotherThreadsPostWakesWhoRunsThePort) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {failed(code_fatal)};
    backend().on_wait = [&] { send(socket); };
    turn_until(-1);
    EXPECT_EQ(backend().wakes, 1);
    turn();
    EXPECT_EQ(closed.size(), 1U);
}

}  // namespace
}  // namespace iocp::scripted
