// Descriptors that still belong to the caller: borrowed by a socket, or only watched.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

class BorrowedTest : public CoreTest {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        backend().answers_at_once = true;
        expected_handles = 1;
    }
    Socket& borrow() {
        handle_ = backend().make_handle();
        Socket* socket = nullptr;
        EXPECT_FALSE(locked(
            [&] { return port().sockets().adopt({.handle = handle_, .borrowed = true}, socket); }));
        return *socket;
    }
    Socket& watch() {
        handle_ = backend().make_handle(false);
        Socket* socket = nullptr;
        EXPECT_FALSE(locked([&] { return port().sockets().watch(handle_, socket); }));
        return *socket;
    }

    Handle handle_{no_handle};
};

TEST_F(BorrowedTest, ACloseGivesTheHandleBackAtOnce) {
    Socket& socket = borrow();
    const Posted& op = receive(socket);
    forget_calls();
    close(socket);
    EXPECT_EQ(socket.state, SocketState::closed) << "the caller may close the handle now";
    EXPECT_THAT(backend().calls_on(handle_), ElementsAre("cancel:receive", "detach"));
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_EQ(closed.size(), 1U);
    EXPECT_TRUE(backend().is_open(handle_));
}

TEST_F(BorrowedTest, AnAbortResetsTheConnectionAndLeavesTheHandle) {
    Socket& socket = borrow();
    forget_calls();
    abort(socket);
    turn();
    EXPECT_THAT(backend().calls_on(handle_), ElementsAre("reset", "detach"));
    EXPECT_TRUE(backend().is_open(handle_));
}

TEST_F(BorrowedTest, AFatalErrorLeavesTheHandle) {
    Socket& socket = borrow();
    const Posted& op = receive(socket);
    backend().deliver(op.id, -code_fatal);
    turns(2);
    EXPECT_EQ(closed.size(), 1U);
    EXPECT_TRUE(backend().is_open(handle_));
}

TEST_F(BorrowedTest, AWatchTakesReadinessWaitsOnly) {
    Socket& socket = watch();
    for (const OperationKind kind :
         {OperationKind::receive, OperationKind::send, OperationKind::accept,
          OperationKind::connect, OperationKind::disconnect, OperationKind::receive_each,
          OperationKind::accept_each}) {
        EXPECT_EQ(post(socket, kind).refusal.fault, Fault::argument);
    }
    std::byte byte{};
    std::int64_t moved = 0;
    locked([&] {
        EXPECT_EQ(port().operations().try_receive(socket, &byte, 1, moved).fault, Fault::argument);
        EXPECT_EQ(port().operations().try_send(socket, &byte, 1, moved).fault, Fault::argument);
        EXPECT_EQ(port().sockets().shutdown(socket, true, true).fault, Fault::argument);
    });
    for (const OperationKind kind : {OperationKind::zero_byte, OperationKind::writable}) {
        const Posted& op = post(socket, kind);
        EXPECT_TRUE(op.accepted);
        EXPECT_EQ(charged(), 0U);
    }
    abort(socket);
    turn();
    EXPECT_THAT(backend().calls_on(handle_), Not(Contains("reset")))
        << "the caller owns the handle";
    EXPECT_THAT(backend().calls_on(handle_), Contains("detach"));
}

TEST_F(BorrowedTest, AWatchEndsAtOnce) {
    Socket& socket = watch();
    const Posted& op = post(socket, OperationKind::zero_byte);
    close(socket);
    EXPECT_EQ(socket.state, SocketState::closed);
    turn();
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_TRUE(backend().is_open(handle_));
}

TEST_F(BorrowedTest, AHandleThatCannotBeWatchedIsRefused) {
    handle_ = backend().make_handle();
    backend().next_describe_error = code_plain;
    Socket* socket = nullptr;
    EXPECT_EQ(locked([&] { return port().sockets().watch(handle_, socket); }).fault, Fault::system);
    EXPECT_EQ(port().sockets().open_count(), 0U);
}

TEST_F(BorrowedTest, NothingIsWatchedOnceThePortCloses) {
    handle_ = backend().make_handle();
    locked([&] { port().begin_close(0); });
    Socket* socket = nullptr;
    EXPECT_EQ(locked([&] { return port().sockets().watch(handle_, socket); }).fault,
              Fault::port_closed);
}

}  // namespace
}  // namespace iocp::scripted
