// TimeLeft: the time that a wait has left, by the clocks of its ports.
#include "run/time_left.hpp"

#include <gtest/gtest.h>

namespace iocp::run {
namespace {

TEST(TimeLeftTest, FallsToNothingAndStaysThere) {
    TimeLeft left(100);
    EXPECT_EQ(left.at(nullptr, 5000), 100) << "the wait begins with the first look";
    EXPECT_EQ(left.at(nullptr, 5030), 70);
    EXPECT_EQ(left.at(nullptr, 5030), 70);
    EXPECT_EQ(left.at(nullptr, 9000), 0);
    EXPECT_EQ(left.at(nullptr, 9001), 0);
}

TEST(TimeLeftTest, HasNoLimitIfNegative) {
    TimeLeft left(-1);
    EXPECT_EQ(left.at(nullptr, 0), -1);
    EXPECT_EQ(left.at(nullptr, 1'000'000), -1);
}

// A port of a model joins the wait, and closes. The model's clock must never be compared with the
// system's.
TEST(TimeLeftTest, NeverComparesTwoClocks) {
    const int model = 0;
    TimeLeft left(1000);
    EXPECT_EQ(left.at(nullptr, 1'000'000), 1000);
    EXPECT_EQ(left.at(nullptr, 1'000'100), 900);
    EXPECT_EQ(left.at(&model, 7), 900) << "far behind the system's clock";
    EXPECT_EQ(left.at(&model, 207), 700);
    EXPECT_EQ(left.at(nullptr, 1'000'150), 700) << "far ahead of the model's";
    EXPECT_EQ(left.at(nullptr, 1'000'850), 0);
}

TEST(TimeLeftTest, AClockThatGoesBackGivesNoTime) {
    TimeLeft left(100);
    EXPECT_EQ(left.at(nullptr, 1000), 100);
    EXPECT_EQ(left.at(nullptr, 900), 100);
    EXPECT_EQ(left.at(nullptr, 950), 50);
}

}  // namespace
}  // namespace iocp::run
