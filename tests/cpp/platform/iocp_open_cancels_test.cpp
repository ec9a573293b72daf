// OpenCancels of the Windows backend: which wait the open cancels shorten, and when they are
// repeated.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "backend/windows/open_cancels.hpp"

namespace iocp {
namespace {

class SetClock final : public Clock {
public:
    [[nodiscard]] std::int64_t now() const noexcept override { return time; }

    std::int64_t time{1'000'000'000};
};

TEST(IocpOpenCancels, AreRepeatedAfterEveryPause) {
    SetClock clock;
    OpenCancels cancels;
    Request request;
    EXPECT_TRUE(cancels.asked(request, clock));
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(cancels.due(clock));
        clock.time += OpenCancels::pause;
        EXPECT_TRUE(cancels.due(clock));
        cancels.repeated(clock);
    }
    cancels.over(request);
    clock.time += OpenCancels::pause;
    EXPECT_FALSE(cancels.due(clock));
}

TEST(IocpOpenCancels, LimitTheWaitWhileOneIsOpen) {
    const SetClock clock;
    OpenCancels cancels;
    Request one;
    Request other;
    const Request finished;
    EXPECT_LT(cancels.max_wait(), 0);
    EXPECT_TRUE(cancels.asked(one, clock)) << "the wait that is under way has no limit";
    EXPECT_FALSE(cancels.asked(other, clock));
    EXPECT_FALSE(cancels.asked(one, clock)) << "it is counted once";
    cancels.over(one);
    cancels.over(finished);
    EXPECT_EQ(cancels.max_wait(), OpenCancels::pause);
    cancels.over(other);
    EXPECT_LT(cancels.max_wait(), 0);
}

}  // namespace
}  // namespace iocp

#endif
