// Operations that somebody is told of go aside, not to the queue (R25): what the audience sees, and
// that they are retired by whoever takes them.
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class AsideTest : public CoreTest, public Audience {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        port().set_audience(*this);
    }

    bool finished(Operation& op) noexcept override {
        EXPECT_TRUE(op.finished());
        EXPECT_EQ(op.receipt.pages(), 0U) << "told after the refund";
        heard.push_back(op.id.packed());
        return keeps;
    }

    Posted& told(Socket& socket) {
        Posted& posted = receive(socket);
        locked([&] { posted.core->told = true; });
        return posted;
    }

    // As the binding does, in any thread, while others go on.
    std::size_t hand_over(Posted& posted) {
        Operation* next = locked([&] { return port().take_aside(); });
        std::size_t count = 0;
        while (next != nullptr) {
            Operation* op = std::exchange(next, next->next_finished);
            ++count;
            EXPECT_EQ(op, posted.core);
            EXPECT_EQ(op->socket, nullptr) << "it may be retired meanwhile";
            ++posted.completions;
            posted.core = nullptr;
            op->lease.give_back();
            locked([&] { port().retire_aside(*op); });
        }
        return count;
    }

    bool keeps{true};
    std::vector<std::uint64_t> heard;
};

TEST_F(AsideTest, GoesToTheAudienceAndNotToTheQueue) {
    Socket& socket = open_socket();
    Posted& op = told(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_EQ(op.completions, 0) << "nothing was handed out by the turn";
    EXPECT_EQ(heard, std::vector{op.id.packed()});
    EXPECT_TRUE(port().any_aside());
    EXPECT_EQ(port().outstanding(), 1U);
    EXPECT_EQ(socket.outstanding, 1U);
    EXPECT_EQ(hand_over(op), 1U);
    EXPECT_FALSE(port().any_aside());
    EXPECT_EQ(port().outstanding(), 0U);
    EXPECT_EQ(socket.outstanding, 0U);
}

TEST_F(AsideTest, ThatTheAudienceLeavesGoesToTheQueue) {
    keeps = false;
    Socket& socket = open_socket();
    Posted& op = told(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_EQ(heard.size(), 1U);
    EXPECT_TRUE(op.succeeded());
    EXPECT_FALSE(port().any_aside());
}

TEST_F(AsideTest, IsRetiredWhenItsSocketMayBeGoneAlready) {
    Socket& socket = open_socket();
    Posted& op = told(socket);
    close(socket);
    for (int i = 0; i < 3 && !port().any_aside(); ++i) {
        EXPECT_FALSE(port().collect(backend().time));
    }
    Operation* const taken = locked([&] { return port().take_aside(); });
    ASSERT_NE(taken, nullptr);
    EXPECT_EQ(taken->next_finished, nullptr);
    turns(2);
    EXPECT_NE(closing_of(socket), nullptr);
    // The name of the closed socket is another one's now, which must not be touched.
    Socket& next = open_socket();
    ++op.completions;
    op.core = nullptr;
    taken->lease.give_back();
    locked([&] { port().retire_aside(*taken); });
    EXPECT_EQ(next.outstanding, 0U);
}

TEST_F(AsideTest, OthersAreNoneOfTheAudiencesBusiness) {
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    backend().deliver(op.id, 10);
    turn();
    EXPECT_TRUE(heard.empty());
    EXPECT_TRUE(op.succeeded());
}

}  // namespace
}  // namespace iocp::scripted
