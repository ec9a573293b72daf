// CompletionPort, the kernel's port on its own: wakes, announced requests, and packets that stay in
// the kernel.
#ifdef _WIN32

#include "backend/windows/completion_port.hpp"

#include <gtest/gtest.h>

#include "backend/windows/request.hpp"

namespace iocp {
namespace {

class CompletionPortTest : public ::testing::Test {
protected:
    void SetUp() override { ASSERT_EQ(port.open(), 0U); }

    CompletionPort port;
};

TEST_F(CompletionPortTest, AWakeEndsTheNextWait) {
    port.wake();
    port.wait(-1);
    ASSERT_EQ(port.packets().size(), 1U);
    EXPECT_EQ(port.packets()[0].lpCompletionKey, CompletionPort::wake_key);
    EXPECT_EQ(port.packets()[0].lpOverlapped, nullptr);
}

TEST_F(CompletionPortTest, AWaitWithoutPacketsEndsWithItsTime) {
    port.wait(1);
    EXPECT_TRUE(port.packets().empty());
}

TEST_F(CompletionPortTest, PacketsStayUntilTheyAreCleared) {
    port.wake();
    port.wait(-1);
    port.wake();
    port.wait(-1);
    EXPECT_EQ(port.packets().size(), 1U) << "the second is still the kernel's";
    port.clear();
    EXPECT_TRUE(port.packets().empty());
    port.wait(-1);
    EXPECT_EQ(port.packets().size(), 1U);
}

TEST_F(CompletionPortTest, AnAnnouncedRequestHasAPacketOfItsOwnKey) {
    Request request;
    ASSERT_TRUE(port.announce(request.overlapped));
    port.wait(-1);
    ASSERT_EQ(port.packets().size(), 1U);
    EXPECT_EQ(port.packets()[0].lpCompletionKey, CompletionPort::announced_key);
    EXPECT_EQ(port.packets()[0].lpOverlapped, &request.overlapped);
}

}  // namespace
}  // namespace iocp

#endif
