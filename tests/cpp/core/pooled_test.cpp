// receive_each by multishot receives, which take memory only when data arrives (R13).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The core on a backend that has multishot receives.
class PooledTest : public CoreTest {
protected:
    void SetUp() override {
        Capabilities capable;
        capable.multishot_receive = true;
        make({}, capable);
    }
    Posted& subscribe(Socket& socket) { return post(socket, OperationKind::receive_each); }
    Slice filled(std::size_t length) {
        Region* region = pool().take(length);
        Slice slice = Slice::share(*region, region->data(), length);
        region->drop_reference();
        return slice;
    }
    void deliver_data(const Posted& op, std::size_t length, bool more) {
        backend().deliver_slice(op.id, filled(length), more);
    }
};

TEST_F(PooledTest, StandsInTheKernelWithoutMemory) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    EXPECT_EQ(charged(), 0U);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_FALSE(request->readiness_only);
}

TEST_F(PooledTest, ManyPacketsComeFromOneRequest) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    for (std::size_t i = 1; i <= 50; ++i) {
        deliver_data(op, i, true);
    }
    turn();
    EXPECT_EQ(op.data.size(), 50U);
    EXPECT_EQ(op.data[49], 50U);
    EXPECT_EQ(backend().started.size(), 1U);
    EXPECT_EQ(pool().blocks_out(), 0U) << "delivered and let go";
}

TEST_F(PooledTest, ARequestTheKernelRetiredIsStartedAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 10, true);
    deliver_data(op, 20, false);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U, 20U));
    EXPECT_EQ(backend().started.size(), 2U);
    EXPECT_NE(backend().request_of(op.id), nullptr);
}

TEST_F(PooledTest, LackOfBuffersMakesItReadInstead) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_exhausted);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(backend().started.size(), 2U);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only) << "another multishot receive would meet the same lack";
}

TEST_F(PooledTest, LackOfBuffersDoesNotUndoACancel) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    backend().deliver(op.id, -code_exhausted);
    turns(2);
    EXPECT_TRUE(op.completed());
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(socket.state, SocketState::open) << "a lack of buffers ends no socket";
}

TEST_F(PooledTest, ACancelNobodyAskedForStartsItAgain) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(backend().started.size(), 2U);
}

TEST_F(PooledTest, EndOfStreamIsToldOnce) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 10, true);
    backend().deliver(op.id, 0);
    turns(2);
    EXPECT_THAT(op.data, ElementsAre(10U));
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
}

TEST_F(PooledTest, DataBehindTheEndIsLate) {
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    backend().deliver(op.id, 0);
    deliver_data(op, 10, false);
    turns(2);
    EXPECT_EQ(op.ends, 1);
    EXPECT_THAT(op.data, IsEmpty());
    EXPECT_EQ(port().figures().counts().late, 1U);
    EXPECT_EQ(pool().blocks_out(), 0U) << "data that arrives late gives its memory back";
}

TEST_F(PooledTest, DataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    deliver_data(op, 10, true);
    deliver_data(op, 20, true);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U, 20U));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(PooledTest, LastDataThatBeatTheCancelIsDelivered) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    Posted& op = subscribe(socket);
    cancel(op);
    deliver_data(op, 10, false);
    turn();
    EXPECT_THAT(op.data, ElementsAre(10U));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(backend().started.size(), 1U);
}

TEST_F(PooledTest, LargeMessagesAreReadInsteadAndNothingIsLostMeanwhile) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 64 * 1024, true);
    deliver_data(op, 64 * 1024, true);
    turn();
    EXPECT_EQ(op.data.size(), 2U);
    EXPECT_EQ(backend().count("cancel:receive_each"), 1U) << "the multishot receive is cancelled";
    deliver_data(op, 100, true);
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.data.size(), 3U);
    EXPECT_EQ(op.completions, 0);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only);
    std::size_t expected = 3;
    for (int i = 0; i < 200 && backend().request_of(op.id)->readiness_only; ++i) {
        backend().on(socket).reads = {done(10)};
        backend().deliver_ready(op.id);
        turn();
        EXPECT_EQ(op.data.size(), ++expected);
        ASSERT_NE(backend().request_of(op.id), nullptr);
    }
    EXPECT_FALSE(backend().request_of(op.id)->readiness_only)
        << "small messages bring the multishot receive back";
}

TEST_F(PooledTest, TheEndWhileItChangesItsWayIsToldOnce) {
    backend().answers_cancels = false;
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    deliver_data(op, 64 * 1024, true);
    deliver_data(op, 64 * 1024, true);
    turn();
    backend().deliver(op.id, 0);
    turn();
    EXPECT_EQ(op.ends, 1);
    EXPECT_TRUE(op.succeeded());
    backend().deliver(op.id, -code_cancelled);
    turn();
    EXPECT_EQ(op.completions, 1);
}

TEST_F(PooledTest, WithoutThatCapabilityItWatches) {
    make({});
    Socket& socket = open_socket();
    const Posted& op = subscribe(socket);
    const Request* request = backend().request_of(op.id);
    ASSERT_NE(request, nullptr);
    EXPECT_TRUE(request->readiness_only);
}

}  // namespace
}  // namespace iocp::scripted
