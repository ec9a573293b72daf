// Ring: when it is enabled, how many entries it holds, and what is left when it is closed.
#ifdef __linux__
#include "backend/linux/ring.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include "backend/linux/wake_event.hpp"
#include "small_ring.hpp"

namespace iocp::uring {
namespace {

using RingTest = SmallRing;

TEST_F(RingTest, ASharedRingIsEnabledAtOnce) {
    EXPECT_TRUE(ring_.is_open());
    EXPECT_TRUE(ring_.enabled());
}

TEST_F(RingTest, AnOwnedRingWaitsForItsThread) {
    ring_.close();
    std::string reason;
    ASSERT_EQ(ring_.open(entries, false, reason), 0) << reason;
    EXPECT_TRUE(ring_.is_open());
    EXPECT_FALSE(ring_.enabled());
    EXPECT_EQ(ring_.enable(), 0);
    EXPECT_TRUE(ring_.enabled());
}

TEST_F(RingTest, AClosedRingTakesNothing) {
    ring_.close();
    EXPECT_FALSE(ring_.is_open());
    EXPECT_FALSE(ring_.enabled());
    EXPECT_EQ(ring_.next(), nullptr);
}

TEST_F(RingTest, OpensAgainWithoutItsOldEntries) {
    *ring_.next() = no_operation(1);
    ring_.close();
    open();
    *ring_.next() = no_operation(2);
    const std::vector<Cqe> got = submitted();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].user_data, 2U);
}

TEST_F(RingTest, HasRoomForItsEntriesAndNoMore) {
    for (unsigned i = 0; i < entries; ++i) {
        EXPECT_NE(ring_.next(), nullptr);
    }
    EXPECT_EQ(ring_.next(), nullptr);
    EXPECT_EQ(submitted().size(), entries);
    EXPECT_NE(ring_.next(), nullptr);
}

TEST_F(RingTest, KeepsTheCompletionsThatAreNotTaken) {
    for (std::uint64_t name = 1; name <= 3; ++name) {
        *ring_.next() = no_operation(name);
    }
    const unsigned count = ring_.publish();
    ASSERT_EQ(ring_.enter(count, 0, 0), static_cast<int>(count));
    EXPECT_FALSE(ring_.each_completion([](const Cqe& one) { return one.user_data != 2; }));
    const std::vector<Cqe> rest = completions();
    ASSERT_EQ(rest.size(), 2U);
    EXPECT_EQ(rest[0].user_data, 2U);
}

// A ring with one thread finishes requests in that thread, which may ask before it enters.
TEST_F(RingTest, SaysWhetherTheKernelHasWork) {
    ring_.close();
    std::string reason;
    ASSERT_EQ(ring_.open(entries, false, reason), 0) << reason;
    ASSERT_EQ(ring_.enable(), 0);
    WakeEvent event;
    ASSERT_EQ(event.open(), 0);
    Sqe* poll = ring_.next();
    poll->opcode = op_poll_add;
    poll->fd = event.fd();
    poll->op_flags = POLLIN;
    ASSERT_EQ(ring_.enter(ring_.publish(), 0, 0), 1);
    EXPECT_FALSE(ring_.has_work());
    EXPECT_TRUE(completions().empty());
    event.set();
    EXPECT_TRUE(ring_.has_work());
    EXPECT_TRUE(completions().empty());
    ASSERT_EQ(ring_.enter(0, 0, 0), 0);
    EXPECT_EQ(completions().size(), 1U);
    EXPECT_FALSE(ring_.has_work());
}

TEST_F(RingTest, OfSeveralThreadsIsAlwaysEntered) { EXPECT_TRUE(ring_.has_work()); }

}  // namespace
}  // namespace iocp::uring
#endif
