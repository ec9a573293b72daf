// InterruptWait: the event of Ctrl-C wakes the port, and wakes it again after renew() has reset the
// event.
#ifdef _WIN32

#include "backend/windows/interrupt_wait.hpp"

#include <gtest/gtest.h>

namespace iocp {
namespace {

class InterruptWaitTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(port.open(), 0U);
        event = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
        ASSERT_NE(event, nullptr);
    }
    void TearDown() override { (void)::CloseHandle(event); }
    [[nodiscard]] bool event_is_set() const { return ::WaitForSingleObject(event, 0) == 0; }
    // Waits for the packet of a wake, and takes it.
    void expect_wake() {
        port.wait(5'000'000'000);
        ASSERT_EQ(port.packets().size(), 1U);
        EXPECT_EQ(port.packets()[0].lpCompletionKey, CompletionPort::wake_key);
        port.clear();
    }

    CompletionPort port;
    HANDLE event{nullptr};
};

TEST_F(InterruptWaitTest, EveryInterruptWakesThePort) {
    InterruptWait wait(port);
    wait.set_event(event);
    wait.begin();
    for (int i = 0; i < 3; ++i) {
        ASSERT_NE(::SetEvent(event), FALSE);
        expect_wake();
        wait.renew();
        EXPECT_FALSE(event_is_set()) << "the next interrupt sets it again";
    }
}

TEST_F(InterruptWaitTest, AnEventThatHasNotComeIsLeftAlone) {
    InterruptWait wait(port);
    wait.set_event(event);
    wait.begin();
    wait.begin();
    wait.renew();
    ASSERT_NE(::SetEvent(event), FALSE);
    expect_wake();
    EXPECT_TRUE(event_is_set()) << "the program checks the event before renew()";
}

TEST_F(InterruptWaitTest, WithoutAnEventNothingIsRegistered) {
    InterruptWait wait(port);
    wait.begin();
    wait.renew();
    port.wait(1);
    EXPECT_TRUE(port.packets().empty());
}

}  // namespace
}  // namespace iocp

#endif
