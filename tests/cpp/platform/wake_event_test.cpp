// WakeEvent: a wake is kept until the waiting thread takes it.
#ifdef __linux__
#include "backend/linux/wake_event.hpp"

#include <gtest/gtest.h>
#include <poll.h>

namespace iocp {
namespace {

bool ends_a_wait(const WakeEvent& event) {
    pollfd entry{event.fd(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
}

TEST(WakeEventTest, AWakeIsKeptUntilItIsTaken) {
    WakeEvent event;
    ASSERT_EQ(event.open(), 0);
    EXPECT_FALSE(ends_a_wait(event));
    event.set();
    EXPECT_TRUE(ends_a_wait(event));
    EXPECT_TRUE(ends_a_wait(event));
    event.clear();
    EXPECT_FALSE(ends_a_wait(event));
}

TEST(WakeEventTest, OneTakeEndsAllWakesBeforeIt) {
    WakeEvent event;
    ASSERT_EQ(event.open(), 0);
    event.set();
    event.set();
    event.clear();
    EXPECT_FALSE(ends_a_wait(event));
    event.clear();  // clear() without a wake must not block
    event.set();
    EXPECT_TRUE(ends_a_wait(event));
}

}  // namespace
}  // namespace iocp
#endif
