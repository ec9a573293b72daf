// receive_each with the strategy direct, which keeps a charged buffer posted (R13).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;

class DirectTest : public CoreTest {
protected:
    Posted& subscribe(Socket& socket, std::uint32_t bytes = 4096) {
        return post(socket, OperationKind::receive_each,
                    {.strategy = ReceiveStrategy::direct, .block_size = bytes});
    }
};

TEST_F(DirectTest, HoldsOneChargedBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(pool().blocks_out(), 1U);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->readiness_only);
    EXPECT_EQ(request->bytes, 4096U);
}

TEST_F(DirectTest, TheNextBufferIsPostedWhenDataCame) {
    keep_slices = true;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket, 8192);
    EXPECT_EQ(charged(), 2 * page());
    backend().deliver(op.id, 300);
    turn();
    EXPECT_THAT(op.data, ElementsAre(300U));
    EXPECT_EQ(charged(), 2 * page());
    EXPECT_EQ(pool().blocks_out(), 2U) << "the reader's, which is charged no more, and the next";
    slices.clear();
    EXPECT_EQ(pool().blocks_out(), 1U);
}

TEST_F(DirectTest, WhereAStartReadsTheNextBufferIsPostedWhenTheAnswersHaveGone) {
    make({}, {.start_reads = true});
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    forget_calls();
    backend().deliver(op.id, 300);
    turn();
    EXPECT_THAT(op.data, ElementsAre(300U));
    EXPECT_EQ(charged(), 0U) << "nothing is posted yet";
    send(socket, {.batched = true});
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("start:send", "start:receive_each"));
    EXPECT_EQ(op.core->state.load(), State::pending);
}

TEST_F(DirectTest, WhereAStartReadsOneMessageIsTakenInATurn) {
    make({}, {.start_reads = true});
    Socket& socket = open_socket();
    backend().on(socket).starts = {done(5), done(4096), done(6)};
    const Posted& op = subscribe(socket);
    turn();
    EXPECT_THAT(op.data, ElementsAre(5U, 4096U, 6U)) << "a full buffer may have more behind it";
    EXPECT_EQ(charged(), 0U);
    turn();
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, EndOfStreamIsToldOnceAndReturnsTheBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, 0);
    turns(2);
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(DirectTest, WithoutBudgetItWatchesInstead) {
    PortOptions options;
    options.budget_bytes = page();
    make(options);
    Posted& first = receive(open_socket());
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_TRUE(op.accepted);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only);
    EXPECT_EQ(charged(), page());
    backend().on(socket).reads = {done(64)};
    cancel(first);
    backend().deliver_ready(op.id);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(64U));
    backend().deliver_ready(op.id);
    turn();
    request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->readiness_only) << "the budget has room again";
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, DataThatIsThereWhenStartedIsBoundedPerTurn) {
    PortOptions options;
    options.drain.reads = 4;
    make(options);
    Socket& socket = open_socket();
    backend().on(socket).starts = std::deque<StartResult>(10, done(5));
    const Posted& op = subscribe(socket);
    turn();
    EXPECT_LE(op.data.size(), 8U);
    turns(4);
    EXPECT_EQ(op.data.size(), 10U);
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, CancelledKeepsItsBufferUntilThePacketIsTaken) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    turn();
    EXPECT_EQ(charged(), page());
    EXPECT_EQ(pool().blocks_out(), 1U);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(charged(), 0U);
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(DirectTest, DataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    backend().deliver(op.id, 20);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(20U));
    EXPECT_TRUE(op.completed());
    EXPECT_TRUE(backend().held().empty()) << "a cancelled subscription is not armed again";
}

TEST_F(DirectTest, AReadyPacketStartsItAgainWithTheBufferItHas) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().on(socket).starts = {done(11)};
    backend().deliver_ready(op.id);
    turn();
    EXPECT_THAT(op.data, ElementsAre(11U));
    EXPECT_EQ(charged(), page());
}

TEST_F(DirectTest, AFatalErrorReturnsTheBuffer) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(op.error.code, code_fatal);
    EXPECT_EQ(pool().blocks_out(), 0U);
    EXPECT_EQ(closed.size(), 1U);
}

TEST_F(DirectTest, AnyErrorEndsTheSocketThatNobodyWouldReadAnyMore) {
    Socket& socket = open_socket();
    const Posted& s = send(socket);
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_plain);
    turns(2);
    EXPECT_EQ(op.error.code, code_plain);
    EXPECT_EQ(s.error.code, code_plain);
    ASSERT_EQ(closed.size(), 1U);
    EXPECT_EQ(closed[0].failure.code, code_plain);
}

}  // namespace
}  // namespace iocp::scripted
