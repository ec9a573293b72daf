// Histogram: durations in log-linear buckets.
#include "base/histogram.hpp"

#include <gtest/gtest.h>

namespace iocp {
namespace {

TEST(HistogramTest, BucketsFollowEachOtherWithoutAGap) {
    std::int64_t below = 0;
    for (std::size_t i = 0; i + 1 < Histogram::buckets; ++i) {
        const std::int64_t bound = Histogram::bound(i);
        ASSERT_GT(bound, below);
        EXPECT_EQ(Histogram::index_of(bound), i) << "a bound belongs to the bucket below it";
        EXPECT_EQ(Histogram::index_of(below + 1), i)
            << "a duration above the last bound is in this bucket";
        below = bound;
    }
    EXPECT_EQ(below, std::int64_t{1} << Histogram::longest);
    EXPECT_EQ(Histogram::index_of(below + 1), Histogram::buckets - 1);
    EXPECT_EQ(Histogram::bound(Histogram::buckets - 1), Histogram::unbounded);
}

TEST(HistogramTest, ABucketIsAtMostASixteenthWide) {
    for (std::size_t i = 1; i + 1 < Histogram::buckets; ++i) {
        const std::int64_t below = Histogram::bound(i - 1);
        const std::int64_t width = Histogram::bound(i) - below;
        EXPECT_LE(width, below < 16 ? 1 : below / 16);
    }
}

TEST(HistogramTest, EveryPowerOfTwoIsABound) {
    for (unsigned power = 0; power <= Histogram::longest; ++power) {
        const std::int64_t value = std::int64_t{1} << power;
        EXPECT_EQ(Histogram::bound(Histogram::index_of(value)), value);
    }
}

TEST(HistogramTest, CountsSumAndLongest) {
    Histogram histogram;
    for (const std::int64_t value : {3, 3, 1'000, 5'000'000}) {
        histogram.add(value);
    }
    EXPECT_EQ(histogram.count(), 4U);
    EXPECT_EQ(histogram.sum(), 5'001'006U);
    EXPECT_EQ(histogram.max(), 5'000'000);
    EXPECT_EQ(histogram.in(Histogram::index_of(3)), 2U);
    EXPECT_EQ(histogram.in(Histogram::index_of(1'000)), 1U);
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < Histogram::buckets; ++i) {
        all += histogram.in(i);
    }
    EXPECT_EQ(all, 4U);
}

TEST(HistogramTest, WhatCannotBeAndWhatIsLongerThanAllBoundsIsCountedToo) {
    Histogram histogram;
    histogram.add(-5);
    histogram.add(0);
    histogram.add(INT64_MAX);
    EXPECT_EQ(histogram.in(0), 2U);
    EXPECT_EQ(histogram.in(Histogram::buckets - 1), 1U);
    EXPECT_EQ(histogram.sum(), static_cast<std::uint64_t>(INT64_MAX));
}

}  // namespace
}  // namespace iocp
