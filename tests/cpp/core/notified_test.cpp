// Notified completions (R25): the operations that a completion listener takes instead of the queue,
// and their retirement by the thread that takes them.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class NotifiedTest : public CoreTest, public CompletionListener {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        port().set_listener(*this);
    }

    bool finished(Operation& op) noexcept override {
        EXPECT_TRUE(op.finished());
        EXPECT_EQ(op.receipt.pages(), 0U) << "notified after the refund";
        heard.push_back(op.id.packed());
        return keeps;
    }

    Posted& told(Socket& socket) {
        Posted& posted = receive(socket);
        locked([&] { posted.core->notifies = true; });
        return posted;
    }

    // Hands over the notified completions as the binding does. The binding holds the port's lock
    // only to take and to retire them, so that other threads use the port in between.
    std::size_t hand_over(Posted& posted) {
        Operation* next = locked([&] { return port().take_notified(); });
        std::size_t count = 0;
        while (next != nullptr) {
            Operation* op = std::exchange(next, next->next_finished);
            ++count;
            EXPECT_EQ(op, posted.core);
            EXPECT_EQ(op->socket, nullptr) << "the socket may be retired meanwhile";
            ++posted.completions;
            posted.core = nullptr;
            op->lease.give_back();
            locked([&] { port().operations().retire_notified(*op); });
        }
        return count;
    }

    bool keeps{true};
    std::vector<std::uint64_t> heard;
};

TEST_F(NotifiedTest, GoesToTheAudienceAndNotToTheQueue) {
    Socket& socket = open_socket();
    Posted& op = told(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_EQ(op.completions, 0) << "nothing was handed out by the turn";
    EXPECT_EQ(heard, std::vector{op.id.packed()});
    EXPECT_TRUE(port().any_notified());
    EXPECT_EQ(port().operations().outstanding(), 1U);
    EXPECT_EQ(socket.outstanding, 1U);
    EXPECT_EQ(hand_over(op), 1U);
    EXPECT_FALSE(port().any_notified());
    EXPECT_EQ(port().operations().outstanding(), 0U);
    EXPECT_EQ(socket.outstanding, 0U);
}

TEST_F(NotifiedTest, ThatTheAudienceLeavesGoesToTheQueue) {
    keeps = false;
    Socket& socket = open_socket();
    Posted& op = told(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_EQ(heard.size(), 1U);
    EXPECT_TRUE(op.succeeded());
    EXPECT_FALSE(port().any_notified());
}

TEST_F(NotifiedTest, IsRetiredWhenItsSocketMayBeGoneAlready) {
    Socket& socket = open_socket();
    Posted& op = told(socket);
    close(socket);
    for (int i = 0; i < 3 && !port().any_notified(); ++i) {
        EXPECT_FALSE(port().collect(backend().time));
    }
    Operation* const taken = locked([&] { return port().take_notified(); });
    ASSERT_NE(taken, nullptr);
    EXPECT_EQ(taken->next_finished, nullptr);
    turns(2);
    EXPECT_NE(closing_of(socket), nullptr);
    // The slot of the closed socket now belongs to another socket, which must not be touched.
    Socket& next = open_socket();
    ++op.completions;
    op.core = nullptr;
    taken->lease.give_back();
    locked([&] { port().operations().retire_notified(*taken); });
    EXPECT_EQ(next.outstanding, 0U);
}

TEST_F(NotifiedTest, OthersAreNoneOfTheAudiencesBusiness) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_TRUE(heard.empty());
    EXPECT_TRUE(op.succeeded());
}

}  // namespace
}  // namespace iocp::scripted
