// The completion queue, tested without a port: completion listeners, the records of paused readers,
// and the order of both.
#include "core/completion_queue.hpp"

#include <gtest/gtest.h>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

class Listener final : public CompletionListener {
public:
    bool takes{true};
    std::vector<Operation*> heard;

    bool finished(Operation& op) noexcept override {
        heard.push_back(&op);
        return takes;
    }
};

class CompletionQueueTest : public PartsTest {
protected:
    CompletionQueue& queue() { return parts().completions; }
    Ready data(Socket& socket) {
        Ready ready;
        ready.what = Ready::What::data;
        ready.socket = &socket;
        return ready;
    }
    Ready closed(Socket& socket) {
        Ready ready = data(socket);
        ready.what = Ready::What::closed;
        return ready;
    }
};

TEST_F(CompletionQueueTest, AListenerIsNotifiedOfToldOperationsAlone) {
    Listener listener;
    queue().set_listener(listener);
    Socket& socket = open_socket();
    Operation& plain = operation(socket, OperationKind::receive);
    Operation& first = operation(socket, OperationKind::receive);
    Operation& second = operation(socket, OperationKind::receive);
    first.notifies = second.notifies = true;
    queue().completed(plain);
    queue().completed(first);
    queue().completed(second);
    EXPECT_EQ(listener.heard, (std::vector{&first, &second}));
    EXPECT_EQ(records(), std::vector{Ready::What::completed});
    EXPECT_TRUE(queue().any_notified());
    EXPECT_EQ(queue().take_notified(), &first);
    EXPECT_EQ(first.next_finished, &second);
    EXPECT_EQ(second.next_finished, nullptr);
    EXPECT_FALSE(queue().any_notified());
    EXPECT_EQ(queue().take_notified(), nullptr);
    Operation& third = operation(socket, OperationKind::receive);
    third.notifies = true;
    queue().completed(third);
    EXPECT_EQ(queue().take_notified(), &third) << "a new list";
}

TEST_F(CompletionQueueTest, WhatAListenerDoesNotTakeJoinsTheQueue) {
    Listener listener;
    listener.takes = false;
    queue().set_listener(listener);
    Operation& op = operation(open_socket(), OperationKind::receive);
    op.notifies = true;
    queue().completed(op);
    EXPECT_FALSE(queue().any_notified());
    EXPECT_EQ(records(), std::vector{Ready::What::completed});
}

TEST_F(CompletionQueueTest, RecordsOfAPausedSocketAreKeptInOrderUntilItResumes) {
    Socket& socket = open_socket();
    Ready first = data(socket);
    EXPECT_FALSE(queue().may_withhold(first)) << "no socket is paused";
    queue().pause(socket);
    EXPECT_TRUE(queue().may_withhold(first));
    EXPECT_EQ(queue().withhold(first), Withheld::yes);
    queue().end_pause(socket);
    EXPECT_EQ(records(), std::vector{Ready::What::resumed});
    // The pause is over, but earlier records are kept, so later ones stay behind them.
    Ready end = closed(socket);
    EXPECT_EQ(queue().withhold(end), Withheld::yes);
    Ready out;
    EXPECT_TRUE(queue().take_withheld(socket, out));
    EXPECT_EQ(out.what, Ready::What::data);
    EXPECT_TRUE(queue().take_withheld(socket, out));
    EXPECT_EQ(out.what, Ready::What::closed);
    EXPECT_FALSE(queue().take_withheld(socket, out));
    Ready last = data(socket);
    EXPECT_FALSE(queue().may_withhold(last)) << "nothing is kept of any socket";
}

TEST_F(CompletionQueueTest, AnotherPauseEndsTheHandOut) {
    Socket& socket = open_socket();
    queue().pause(socket);
    Ready first = data(socket);
    Ready second = data(socket);
    EXPECT_EQ(queue().withhold(first), Withheld::yes);
    EXPECT_EQ(queue().withhold(second), Withheld::yes);
    queue().end_pause(socket);
    Ready out;
    EXPECT_TRUE(queue().take_withheld(socket, out));
    queue().pause(socket);
    EXPECT_FALSE(queue().take_withheld(socket, out));
    (void)records();
    queue().end_pause(socket);
    EXPECT_EQ(records(), std::vector{Ready::What::resumed});
    EXPECT_TRUE(queue().take_withheld(socket, out));
}

TEST_F(CompletionQueueTest, TheEndOfAPausedSocketIsNotKept) {
    Socket& socket = open_socket();
    queue().pause(socket);
    Ready end = closed(socket);
    EXPECT_EQ(queue().withhold(end), Withheld::no);
}

TEST_F(CompletionQueueTest, ARetiredSocketLeavesNothing) {
    Socket& socket = open_socket();
    queue().pause(socket);
    Ready first = data(socket);
    EXPECT_EQ(queue().withhold(first), Withheld::yes);
    queue().forget(socket);
    Ready next = data(open_socket());
    EXPECT_FALSE(queue().may_withhold(next));
}

}  // namespace
}  // namespace iocp::scripted
