// What a thread can wait for: events, an operation, or time.
#include "run/awaited.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

TEST(AwaitedTest, OneOfSeveralEventsIsTaken) {
    PortEvent manual(true, false);
    PortEvent automatic(false, false);
    AwaitedEvents awaited({&manual, &automatic}, false);
    EXPECT_EQ(awaited.look(), Look::pending);
    automatic.set();
    EXPECT_EQ(awaited.look(), Look::met);
    EXPECT_EQ(awaited.index(), 1U);
    EXPECT_FALSE(automatic.is_set());
    EXPECT_EQ(awaited.look(), Look::pending);
    automatic.set();
    manual.set();
    EXPECT_EQ(awaited.look(), Look::met);
    EXPECT_EQ(awaited.index(), 0U) << "the first in their order";
    EXPECT_TRUE(manual.is_set());
    EXPECT_TRUE(automatic.is_set());
}

TEST(AwaitedTest, AllEventsAreTakenTogetherOrNotAtAll) {
    PortEvent one(false, true);
    PortEvent other(false, false);
    AwaitedEvents awaited({&one, &other}, true);
    EXPECT_EQ(awaited.look(), Look::pending);
    EXPECT_TRUE(one.is_set());
    other.set();
    EXPECT_EQ(awaited.look(), Look::met);
    EXPECT_FALSE(one.is_set());
    EXPECT_FALSE(other.is_set());
}

TEST(AwaitedTest, AClosedEventEndsTheWait) {
    PortEvent one(true, false);
    PortEvent other(true, false);
    for (const bool all : {false, true}) {
        AwaitedEvents awaited({&one, &other}, all);
        one.reset();
        EXPECT_EQ(awaited.look(), other.closed() && !all ? Look::closed : Look::pending);
        one.set();
        other.close();
        EXPECT_EQ(awaited.look(), all ? Look::closed : Look::met);
    }
}

TEST(AwaitedTest, TimeIsNeverMet) {
    AwaitedTime awaited;
    EXPECT_EQ(awaited.look(), Look::pending);
    TestHost host;
    FoundPorts found;
    awaited.find_ports(host, found);
    EXPECT_TRUE(found.all().empty());
}

TEST(AwaitedTest, EachPortIsFoundOnce) {
    TestHost host;
    TestPort first;
    TestPort second;
    PortEvent events[3]{{true, false}, {true, false}, {true, false}};
    EXPECT_TRUE(events[0].reserve(first));
    EXPECT_TRUE(events[1].reserve(second));
    EXPECT_TRUE(events[2].reserve(first));
    AwaitedEvents awaited({&events[0], &events[1], &events[2]}, true);
    {
        FoundPorts found;
        awaited.find_ports(host, found);
        ASSERT_EQ(found.all().size(), 2U);
        EXPECT_EQ(found.all()[0].get(), &first);
        EXPECT_EQ(found.all()[1].get(), &second);
        EXPECT_EQ(first.uses, 3) << "kept alive";
    }
    for (PortEvent& event : events) {
        event.refuse();
    }
}

TEST(AwaitedTest, AnOperationNotifiesTheWaitersOfItsPort) {
    TestHost host;
    TestPort port;
    TestOperation& operation = port.receive();
    AwaitedTestOperation awaited(host, port, operation);
    FoundPorts found;
    awaited.find_ports(host, found);
    ASSERT_EQ(found.all().size(), 1U);
    EXPECT_TRUE(operation.core->notifies);
    EXPECT_EQ(awaited.look(), Look::pending);
    CountingWaiter waiter(port);
    port.finish(operation);
    EXPECT_FALSE(collect(host, port, 0));
    EXPECT_EQ(waiter.count, 1);
    EXPECT_EQ(awaited.look(), Look::met) << "before it is handed out";
}

}  // namespace
}  // namespace iocp::run
