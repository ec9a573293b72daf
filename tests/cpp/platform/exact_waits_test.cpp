// ExactWaits: waits for room or data that ignore a half-closed connection and an old error.
#ifdef __linux__
#include "backend/linux/exact_waits.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

namespace iocp {
namespace {

constexpr std::uint64_t name = 17;

class ExactWaitsTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends_.data()), 0);
    }
    void TearDown() override {
        for (const int end : ends_) {
            (void)::close(end);
        }
    }
    static bool ends(int instance) {
        pollfd entry{instance, POLLIN, 0};
        return ::poll(&entry, 1, 0) == 1;
    }
    static bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
    void fill() const {
        const std::string much(std::size_t{1} << 16U, 'x');
        while (::write(ends_[0], much.data(), much.size()) > 0) {
        }
        ASSERT_EQ(errno, EAGAIN);
    }
    void empty() const {
        std::array<char, 1 << 16> much;
        while (::read(ends_[1], much.data(), much.size()) > 0) {
        }
    }

    ExactWaits waits_;
    std::array<int, 2> ends_{};
    bool stands_{false};
};

TEST_F(ExactWaitsTest, ThePeersEndDoesNotEndAWaitForRoom) {
    fill();
    ASSERT_EQ(::shutdown(ends_[1], SHUT_WR), 0);
    const int instance = waits_.begin(name, ends_[0], POLLOUT, stands_);
    ASSERT_GE(instance, 0);
    EXPECT_FALSE(stands_);
    EXPECT_FALSE(ends(instance));
    empty();
    EXPECT_TRUE(ends(instance));
}

TEST_F(ExactWaitsTest, WhatIsThereAlreadyEndsTheWait) {
    const int instance = waits_.begin(name, ends_[0], POLLOUT, stands_);
    ASSERT_GE(instance, 0);
    EXPECT_FALSE(stands_);
    EXPECT_TRUE(ends(instance));
}

TEST_F(ExactWaitsTest, AHangUpThatIsThereAlreadyIsReportedByItselfOnly) {
    ASSERT_EQ(::close(ends_[1]), 0);
    ends_[1] = -1;
    const int instance = waits_.begin(name, ends_[0], POLLPRI, stands_);
    ASSERT_GE(instance, 0);
    EXPECT_TRUE(stands_);
    EXPECT_FALSE(ends(instance));
}

TEST_F(ExactWaitsTest, ANewHangUpEndsTheWait) {
    fill();
    const int instance = waits_.begin(name, ends_[0], POLLOUT, stands_);
    EXPECT_FALSE(ends(instance));
    ASSERT_EQ(::close(ends_[1]), 0);
    ends_[1] = -1;
    EXPECT_TRUE(ends(instance));
}

TEST_F(ExactWaitsTest, TheEndOfARequestClosesItsInstance) {
    const int one = waits_.begin(name, ends_[0], POLLIN, stands_);
    const int other = waits_.begin(name + 1, ends_[0], POLLIN, stands_);
    waits_.over(name + 2);
    EXPECT_TRUE(is_open(one));
    waits_.over(name);
    EXPECT_FALSE(is_open(one));
    EXPECT_TRUE(is_open(other));
    waits_.clear();
    EXPECT_FALSE(is_open(other));
}

TEST_F(ExactWaitsTest, ABadDescriptorLeavesNoInstance) {
    const int before = ::dup(ends_[0]);
    ASSERT_EQ(::close(before), 0);
    EXPECT_EQ(waits_.begin(name, -1, POLLIN, stands_), -EBADF);
    EXPECT_FALSE(is_open(before)) << "the lowest free number, which the instance had";
}

TEST_F(ExactWaitsTest, ANeedOutlivesTheRing) {
    waits_.reserve(3);
    EXPECT_FALSE(waits_.needed(3));
    waits_.need(3);
    waits_.clear();
    EXPECT_TRUE(waits_.needed(3));
    EXPECT_FALSE(waits_.needed(4));
    waits_.need_no_more(3);
    EXPECT_FALSE(waits_.needed(3));
}

}  // namespace
}  // namespace iocp
#endif
