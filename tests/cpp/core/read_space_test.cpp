// ReadSpace, the memory that drains read into: messages share a region, which is used again after
// them.
#include "core/read_space.hpp"

#include <gtest/gtest.h>

#include "base/process.hpp"

namespace iocp {
namespace {

class ReadSpaceTest : public ::testing::Test {
protected:
    static constexpr std::size_t region = std::size_t{64} << 10U;

    void TearDown() override {
        EXPECT_EQ(pool_->blocks_out(), 0U);
        pool_->close();
    }

    BufferPool* pool_{BufferPool::create(system_page_size(), region, 4)};
};

TEST_F(ReadSpaceTest, MessagesShareARegionUntilItIsFull) {
    ReadSpace space(*pool_);
    ASSERT_TRUE(space.reserve(1000));
    std::byte* const start = space.data();
    const Slice first = space.share(start, 1000);
    space.take(1000);
    ASSERT_TRUE(space.reserve(1000));
    EXPECT_EQ(space.data(), start + 1000);
    EXPECT_EQ(space.room(), region - 1000);
    EXPECT_EQ(pool_->blocks_out(), 1U);
    ASSERT_TRUE(space.reserve(region));  // more than is left, so another region
    EXPECT_EQ(space.room(), region);
    EXPECT_EQ(pool_->blocks_out(), 2U);
}

TEST_F(ReadSpaceTest, WarmMemoryIsUsedAgainOnceNoMessageHoldsIt) {
    ReadSpace space(*pool_);
    ASSERT_TRUE(space.reserve(1000));
    std::byte* const start = space.data();
    {
        const Slice held = space.share(start, 1000);
        space.take(1000);
        ASSERT_TRUE(space.reserve(1));
        EXPECT_EQ(space.data(), start + 1000);
    }
    ASSERT_TRUE(space.reserve(1));
    EXPECT_EQ(space.data(), start);
    EXPECT_EQ(pool_->blocks_out(), 1U);
}

TEST_F(ReadSpaceTest, AlignmentCountsFromTheStartOfTheRegion) {
    ReadSpace space(*pool_);
    ASSERT_TRUE(space.reserve(100));
    const Slice held = space.share(space.data(), 3);
    space.take(3);
    space.align(16);
    ASSERT_TRUE(space.reserve(100));
    EXPECT_EQ(space.room(), region - 16);
}

TEST_F(ReadSpaceTest, WhatIsReleasedGoesBackWithTheLastMessage) {
    ReadSpace space(*pool_);
    ASSERT_TRUE(space.reserve(100));
    Slice held = space.share(space.data(), 100);
    space.take(100);
    space.release();
    EXPECT_EQ(pool_->blocks_out(), 1U);
    held.reset();
    EXPECT_EQ(pool_->blocks_out(), 0U);
    ASSERT_TRUE(space.reserve(100));  // a released ReadSpace may be used again
}

}  // namespace
}  // namespace iocp
