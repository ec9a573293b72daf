// PortEvent: an event, and the port of the operation that has it (R25).
#include "run/port_event.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

TEST(PortEventTest, KeepsThePortOfItsOperation) {
    TestPort port;
    PortEvent event(true, true);
    EXPECT_TRUE(event.reserve(port));
    EXPECT_EQ(event.port(), &port);
    EXPECT_EQ(port.uses, 1);
    EXPECT_FALSE(event.is_set()) << "a post resets it";
    EXPECT_FALSE(event.reserve(port)) << "one unfinished operation has it";
    event.forget_port();
    EXPECT_EQ(event.port(), &port) << "its operation is not over";
    {
        const std::lock_guard lock(Event::mutex());
        event.finish_locked();
    }
    EXPECT_TRUE(event.is_set());
    EXPECT_EQ(event.port(), &port) << "until the operation is handed over";
    event.forget_port();
    EXPECT_EQ(event.port(), nullptr);
    EXPECT_EQ(port.uses, 0);
}

TEST(PortEventTest, OfARefusedPostHasNoPort) {
    TestPort port;
    PortEvent event(true, false);
    EXPECT_TRUE(event.reserve(port));
    event.refuse();
    EXPECT_EQ(event.port(), nullptr);
    EXPECT_EQ(port.uses, 0);
    EXPECT_TRUE(event.reserve(port));
    event.refuse();
}

TEST(PortEventTest, TheNextPostReplacesThePort) {
    TestPort first;
    TestPort second;
    PortEvent event(true, false);
    EXPECT_TRUE(event.reserve(first));
    {
        const std::lock_guard lock(Event::mutex());
        event.finish_locked();
    }
    EXPECT_TRUE(event.reserve(second));
    EXPECT_EQ(first.uses, 0);
    EXPECT_EQ(second.uses, 1);
    event.forget_port();  // the late hand-over of the first operation
    EXPECT_EQ(event.port(), &second);
    event.refuse();
}

}  // namespace
}  // namespace iocp::run
