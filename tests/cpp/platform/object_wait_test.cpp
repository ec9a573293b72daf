// The wait for an object of Windows: one packet, of the object or of the cancel.
#ifdef _WIN32

#include "backend/windows/object_wait.hpp"

#include <gtest/gtest.h>

#include "backend/windows/request.hpp"

namespace iocp {
namespace {

class ObjectWaitTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(port.open(), 0U);
        event = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
        ASSERT_NE(event, nullptr);
    }
    void TearDown() override { (void)::CloseHandle(event); }
    // Waits for the request's packet, and checks that it is the only one.
    void expect_packet() {
        port.wait(5'000'000'000);
        ASSERT_EQ(port.packets().size(), 1U);
        EXPECT_EQ(port.packets()[0].lpCompletionKey, CompletionPort::announced_key);
        EXPECT_EQ(port.packets()[0].lpOverlapped, &request.overlapped);
        port.clear();
        port.wait(1);
        EXPECT_TRUE(port.packets().empty());
    }

    CompletionPort port;
    Request request;
    HANDLE event{nullptr};
};

TEST_F(ObjectWaitTest, TheObjectPostsThePacketOnce) {
    ObjectWait wait(port, request.overlapped);
    ASSERT_EQ(wait.start(event), 0U);
    ASSERT_NE(::SetEvent(event), FALSE);
    expect_packet();
    EXPECT_FALSE(wait.was_cancelled());
    wait.cancel();
    port.wait(1);
    EXPECT_TRUE(port.packets().empty()) << "the wait is over";
}

TEST_F(ObjectWaitTest, ACancelPostsThePacketOnce) {
    ObjectWait wait(port, request.overlapped);
    ASSERT_EQ(wait.start(event), 0U);
    wait.cancel();
    wait.cancel();
    expect_packet();
    EXPECT_TRUE(wait.was_cancelled());
    ASSERT_NE(::SetEvent(event), FALSE);
    port.wait(1);
    EXPECT_TRUE(port.packets().empty()) << "nothing waits for it any more";
}

TEST_F(ObjectWaitTest, ACancelThatMeetsTheSignalLeavesOnePacket) {
    for (int i = 0; i < 200; ++i) {
        ObjectWait wait(port, request.overlapped);
        ASSERT_EQ(wait.start(event), 0U);
        ASSERT_NE(::SetEvent(event), FALSE);
        wait.cancel();
        expect_packet();
        ASSERT_NE(::ResetEvent(event), FALSE);
    }
}

TEST_F(ObjectWaitTest, AnEndedWaitPostsNothing) {
    {
        ObjectWait wait(port, request.overlapped);
        ASSERT_EQ(wait.start(event), 0U);
    }
    ASSERT_NE(::SetEvent(event), FALSE);
    port.wait(1);
    EXPECT_TRUE(port.packets().empty());
}

TEST_F(ObjectWaitTest, ALookTellsWithoutAWait) {
    EXPECT_EQ(ObjectWait::is_signalled(event), 0);
    ASSERT_NE(::SetEvent(event), FALSE);
    EXPECT_EQ(ObjectWait::is_signalled(event), 1);
    EXPECT_LT(ObjectWait::is_signalled(nullptr), 0) << "it is no object";
}

}  // namespace
}  // namespace iocp

#endif
