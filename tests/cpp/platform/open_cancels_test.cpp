// OpenCancels of io_uring: after a refusal all open cancels are repeated, with a pause between two
// repetitions.
#ifdef __linux__
#include "backend/linux/open_cancels.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <vector>

namespace iocp {
namespace {

using testing::UnorderedElementsAre;

class SetClock final : public Clock {
public:
    [[nodiscard]] std::int64_t now() const noexcept override { return time; }
    std::int64_t time{10 * OpenCancels::pause};
};

class OpenCancelsTest : public testing::Test {
protected:
    std::vector<std::uint64_t> repeated() {
        std::vector<std::uint64_t> names;
        cancels_.repeat(clock_, [&](std::uint64_t name) { names.push_back(name); });
        return names;
    }

    OpenCancels cancels_;
    SetClock clock_;
};

TEST_F(OpenCancelsTest, NothingIsRepeatedWithoutARefusal) {
    cancels_.asked(1);
    EXPECT_TRUE(repeated().empty());
    EXPECT_EQ(cancels_.limit(-1), -1);
}

TEST_F(OpenCancelsTest, ARefusalRepeatsAllOnce) {
    cancels_.asked(1);
    cancels_.asked(2);
    cancels_.refused();
    EXPECT_THAT(repeated(), UnorderedElementsAre(1U, 2U));
    clock_.time += OpenCancels::pause;
    EXPECT_TRUE(repeated().empty());
}

TEST_F(OpenCancelsTest, TheNextRepetitionWaits) {
    cancels_.asked(1);
    cancels_.refused();
    EXPECT_THAT(repeated(), UnorderedElementsAre(1U));
    cancels_.refused();
    clock_.time += OpenCancels::pause - 1;
    EXPECT_TRUE(repeated().empty());
    ++clock_.time;
    EXPECT_THAT(repeated(), UnorderedElementsAre(1U));
}

TEST_F(OpenCancelsTest, ARequestThatEndedIsNotAskedAbout) {
    cancels_.asked(1);
    cancels_.asked(2);
    cancels_.refused();
    cancels_.over(1);
    cancels_.over(7);
    EXPECT_FALSE(cancels_.contains(1));
    EXPECT_THAT(repeated(), UnorderedElementsAre(2U));
}

TEST_F(OpenCancelsTest, AWaitEndsInTimeForTheRepetition) {
    cancels_.asked(1);
    cancels_.refused();
    EXPECT_EQ(cancels_.limit(-1), OpenCancels::pause);
    EXPECT_EQ(cancels_.limit(2 * OpenCancels::pause), OpenCancels::pause);
    EXPECT_EQ(cancels_.limit(5), 5);
    EXPECT_EQ(cancels_.limit(0), 0);
}

TEST_F(OpenCancelsTest, ARefusalOfARequestThatEndedLimitsNoWait) {
    cancels_.asked(1);
    cancels_.refused();
    cancels_.over(1);
    EXPECT_TRUE(repeated().empty());
    EXPECT_EQ(cancels_.limit(-1), -1);
}

TEST_F(OpenCancelsTest, WithoutMemoryAllAreAskedForLater) {
    cancels_.asked(1);
    cancels_.asked(2);
    cancels_.refused();
    EXPECT_THROW(cancels_.repeat(clock_, [](std::uint64_t) { throw std::bad_alloc(); }),
                 std::bad_alloc);
    EXPECT_EQ(cancels_.limit(-1), OpenCancels::pause);
    clock_.time += OpenCancels::pause;
    EXPECT_THAT(repeated(), UnorderedElementsAre(1U, 2U));
}

TEST_F(OpenCancelsTest, ANewRingHasNone) {
    cancels_.asked(1);
    cancels_.refused();
    cancels_.clear();
    EXPECT_FALSE(cancels_.contains(1));
    EXPECT_TRUE(repeated().empty());
}

}  // namespace
}  // namespace iocp
#endif
