// Submission: the kernel takes entries in their order, however little room the ring has. A wait
// after sends expects one more completion for a short time.
#ifdef __linux__
#include "backend/linux/submission.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <vector>

#include "small_ring.hpp"

namespace iocp {
namespace {

class SubmissionTest : public uring::SmallRing {
protected:
    void push(std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t name = first; name <= last; ++name) {
            submission_.push(no_operation(name));
        }
    }
    // Makes turns until `count` completions have arrived. Returns their user_data.
    std::vector<std::uint64_t> names(std::size_t count) {
        std::vector<std::uint64_t> all;
        for (int turn = 0; turn < 10 && all.size() < count; ++turn) {
            submission_.publish();
            submission_.enter(0);
            for (const uring::Cqe& one : completions()) {
                all.push_back(one.user_data);
            }
        }
        return all;
    }
    static std::vector<std::uint64_t> up_to(std::uint64_t last) {
        std::vector<std::uint64_t> all(last);
        std::iota(all.begin(), all.end(), 1);
        return all;
    }

    Submission submission_{ring_};
};

TEST_F(SubmissionTest, EntriesBeyondTheRingFollowInOrder) {
    push(1, 3 * entries + 1);
    EXPECT_TRUE(submission_.has_backlog());
    EXPECT_EQ(names(3 * entries + 1), up_to(3 * entries + 1));
    EXPECT_FALSE(submission_.has_backlog());
}

TEST_F(SubmissionTest, OneTurnEmptiesTheBacklogAsFarAsTheKernelTakesIt) {
    push(1, 3 * entries + 1);
    submission_.publish();
    EXPECT_FALSE(submission_.has_backlog());
    submission_.enter(0);
    EXPECT_EQ(completions().size(), 3U * entries + 1U);
}

TEST_F(SubmissionTest, NoEntryOvertakesTheBacklog) {
    push(1, entries + 1);
    const unsigned count = ring_.publish();
    ASSERT_EQ(ring_.enter(count, 0, 0), static_cast<int>(entries));  // the ring has room again
    push(entries + 2, entries + 2);
    EXPECT_EQ(names(entries + 2), up_to(entries + 2));
}

TEST_F(SubmissionTest, AnEntryWaitsForPublish) {
    push(1, 1);
    submission_.enter(0);
    EXPECT_TRUE(completions().empty());
    EXPECT_EQ(names(1), up_to(1));
}

TEST_F(SubmissionTest, VisitsEveryEntryThatHasNotLeft) {
    push(1, entries + 2);
    std::vector<std::uint64_t> seen;
    submission_.each([&](uring::Sqe& entry) { seen.push_back(entry.user_data); });
    EXPECT_EQ(seen, up_to(entries + 2));
}

TEST_F(SubmissionTest, ForgetsTheBacklogOfAClosedRing) {
    push(1, entries + 2);
    ring_.close();
    submission_.clear();
    open();
    push(1, 1);
    EXPECT_EQ(names(1), up_to(1));
    EXPECT_TRUE(names(1).empty());
}

TEST_F(SubmissionTest, MemoryIsReusedOnlyBehindTheLastEntry) {
    const std::byte* first = submission_.memory(8);
    push(1, entries + 1);
    submission_.reuse_memory();
    EXPECT_NE(submission_.memory(8), first) << "the kernel has not taken the entries yet";
    submission_.publish();
    ASSERT_EQ(names(entries + 1).size(), entries + 1U);
    submission_.reuse_memory();
    EXPECT_EQ(submission_.memory(8), first);
}

TEST_F(SubmissionTest, MemoryIsNotReusedInFrontOfTheBacklog) {
    const std::byte* first = submission_.memory(8);
    push(1, entries + 1);
    const unsigned count = ring_.publish();
    ASSERT_EQ(ring_.enter(count, 0, 0), static_cast<int>(entries));
    submission_.reuse_memory();
    EXPECT_NE(submission_.memory(8), first);
}

// A request without an operation completes during its submission, as most sends do.
TEST_F(SubmissionTest, TheCompletionOfASendAloneDoesNotEndTheWaitAtOnce) {
    if ((ring_.features() & uring::feat_min_timeout) == 0) {
        GTEST_SKIP() << "this kernel cannot wait a short time for several completions";
    }
    const auto before = std::chrono::steady_clock::now();
    submission_.push_send(no_operation(1));
    submission_.publish();
    submission_.enter(1'000'000'000);
    const auto waited = std::chrono::steady_clock::now() - before;
    EXPECT_EQ(completions().size(), 1U);
    EXPECT_GE(waited, std::chrono::microseconds(50));
    EXPECT_LT(waited, std::chrono::milliseconds(500)) << "it is patient only for a short time";
}

}  // namespace
}  // namespace iocp
#endif
