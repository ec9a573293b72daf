// StandingReceives: the backend polls the socket of a multishot receive after a burst of data. The
// kernel can fail to report the last data of a burst that has woken the request 128 times.
#ifdef __linux__

#include "backend/linux/standing_receives.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

namespace iocp {
namespace {

constexpr std::uint64_t name = (std::uint64_t{7} << 32U) | 3U;
constexpr std::uint32_t more = uring::cqe_f_more;
constexpr std::uint32_t owed = uring::cqe_f_more | uring::cqe_f_sock_nonempty;

class StandingReceivesTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_.data()), 0);
        standing_.began(name, ends_[0]);
    }
    void TearDown() override {
        for (const int end : ends_) {
            (void)::close(end);
        }
    }
    void leave_something() { ASSERT_EQ(::write(ends_[1], "x", 1), 1); }
    void completed(std::int32_t result, std::uint32_t flags, std::uint64_t of = name) {
        uring::Cqe cqe{};
        cqe.user_data = of;
        cqe.res = result;
        cqe.flags = flags;
        standing_.completed(cqe);
    }
    std::vector<std::uint64_t> lost() {
        std::vector<std::uint64_t> names;
        standing_.look([&](std::uint64_t one) { names.push_back(one); });
        return names;
    }

    StandingReceives standing_;
    std::array<int, 2> ends_{};
};

TEST_F(StandingReceivesTest, AfterABurstTheSocketIsAskedOnce) {
    leave_something();
    completed(4096, more);
    EXPECT_EQ(lost(), std::vector{name});
    EXPECT_EQ(lost(), std::vector<std::uint64_t>{});
}

TEST_F(StandingReceivesTest, AnEmptySocketIsNotLost) {
    completed(1 << 20, more);
    EXPECT_EQ(lost(), std::vector<std::uint64_t>{});
}

TEST_F(StandingReceivesTest, TheEndOfTheStreamIsSomethingToRead) {
    completed(4096, more);
    ASSERT_EQ(::shutdown(ends_[1], SHUT_WR), 0);
    EXPECT_EQ(lost(), std::vector{name});
}

TEST_F(StandingReceivesTest, SmallMessagesAreNoBurst) {
    leave_something();
    for (int i = 0; i < 100; ++i) {
        completed(4095, more);
    }
    EXPECT_EQ(lost(), std::vector<std::uint64_t>{});
}

TEST_F(StandingReceivesTest, PartsOfABurstAddUp) {
    leave_something();
    for (int i = 0; i < 3; ++i) {
        completed(1024, owed);
    }
    completed(1024, more);
    EXPECT_FALSE(lost().empty());
}

TEST_F(StandingReceivesTest, WhatTheKernelStillOwesIsWaitedForOneTurn) {
    leave_something();
    completed(4096, owed);
    EXPECT_TRUE(lost().empty());
    EXPECT_TRUE(standing_.in_doubt());
    completed(4096, owed);
    EXPECT_TRUE(lost().empty());
    EXPECT_EQ(lost(), std::vector{name});
    EXPECT_FALSE(standing_.in_doubt());
}

TEST_F(StandingReceivesTest, OneThatEndedIsNotAskedAbout) {
    leave_something();
    completed(4096, more);
    completed(-125, 0);
    EXPECT_TRUE(lost().empty());
    completed(4096, more);
    EXPECT_TRUE(lost().empty());
}

TEST_F(StandingReceivesTest, CompletionsOfOthersAreNotItsOwn) {
    leave_something();
    completed(4096, more, name + 1);
    completed(4096, more, name + (std::uint64_t{1} << 32U));
    EXPECT_TRUE(lost().empty());
    standing_.clear();
    completed(4096, more);
    EXPECT_TRUE(lost().empty());
}

}  // namespace
}  // namespace iocp

#endif  // __linux__
