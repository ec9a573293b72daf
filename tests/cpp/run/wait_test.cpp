// Wait: a thread waits for events, an operation or time, and runs ports meanwhile (R24, R25).
#include "run/wait.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

using End = Waited::End;

class WaitTest : public ::testing::Test {
protected:
    TestHost host_;
};

TEST_F(WaitTest, RunsThePortOfItsEvent) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    port.backend().on_wait = [&] { port.finish(operation); };
    EXPECT_EQ(wait_for(host_, event).end, End::met);
    EXPECT_TRUE(operation.handed_out);
}

TEST_F(WaitTest, RunsThePortOfItsOperation) {
    TestPort port;
    TestOperation& operation = port.receive();
    port.backend().on_wait = [&] { port.finish(operation); };
    AwaitedTestOperation awaited(host_, port, operation);
    EXPECT_EQ(Wait(host_, awaited, nullptr, for_ever).wait().end, End::met);
    EXPECT_TRUE(operation.handed_out);
    EXPECT_EQ(Wait(host_, awaited, nullptr, for_ever).wait().end, End::met) << "it has ended";
}

TEST_F(WaitTest, WithoutTimeTakesOneLook) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    EXPECT_EQ(wait_for(host_, event, 0).end, End::timed_out);
    EXPECT_EQ(port.backend().waits(), std::vector<std::int64_t>{0});
    port.finish(operation);
    EXPECT_EQ(wait_for(host_, event, 0).end, End::met) << "the look includes a turn";
}

TEST_F(WaitTest, SleepsForTheTime) {
    AwaitedTime awaited;
    EXPECT_EQ(Wait(host_, awaited, nullptr, 0).wait().end, End::timed_out);
    EXPECT_EQ(Wait(host_, awaited, nullptr, 1000).wait().end, End::timed_out);
    host_.on_signals = [] { throw Raised(); };
    EXPECT_THROW((void)Wait(host_, awaited, nullptr, for_ever).wait(), Raised);
}

TEST_F(WaitTest, ASetEventEndsASleepAndATurn) {
    TestPort port;
    PortEvent with_port(true, false);
    PortEvent without(true, false);
    port.receive(&with_port);
    for (PortEvent* event : {&with_port, &without}) {
        std::thread other;
        host_.on_detach = [&] {
            if (!other.joinable()) {
                other = std::thread([&] { event->set(); });
            }
        };
        EXPECT_EQ(wait_for(host_, *event).end, End::met);
        other.join();
    }
}

TEST_F(WaitTest, AClosedEventEndsIt) {
    PortEvent event(true, false);
    host_.on_signals = [&] { event.close(); };
    EXPECT_EQ(wait_for(host_, event).end, End::closed);
}

TEST_F(WaitTest, LendsItsPortAndGivesItUpAtOnce) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    std::thread waiter([&] {
        TestHost host;
        EXPECT_EQ(wait_for(host, event).end, End::met);
    });
    for (int i = 0; i < 20; ++i) {
        until([&] { return port.backend().blocks(); });
        const Ran ran = run_once(host_, port, 0);
        EXPECT_FALSE(ran.refused);
        EXPECT_FALSE(ran.error);
    }
    port.finish(operation);
    waiter.join();
}

// A callback that waits delays a contender. But the contender gets the port before the next
// callback.
TEST_F(WaitTest, GivesThePortUpBetweenTwoRecords) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    PortEvent go_on(true, false);
    TestHost inner;
    std::atomic<bool> waits{false};
    std::thread::id second_by;
    port.post([&] {
        waits = true;
        EXPECT_EQ(wait_for(inner, go_on).end, End::met);
    });
    port.post([&] { second_by = std::this_thread::get_id(); });
    std::thread waiter([&] {
        TestHost host;
        EXPECT_EQ(wait_for(host, event).end, End::met);
    });
    until([&] { return waits.load(); });
    std::thread contender([&] {
        TestHost host;
        const Ran ran = run_once(host, port, 0);
        EXPECT_FALSE(ran.refused);
        EXPECT_EQ(ran.count, 1U);
        EXPECT_EQ(second_by, std::this_thread::get_id());
    });
    until([&] { return port.runner.contended(); });
    go_on.set();
    contender.join();
    port.finish(operation);
    waiter.join();
}

TEST_F(WaitTest, ACallbackThatWaitsKeepsNoOtherPortBack) {
    TestPort first;
    TestPort second;
    PortEvent events[2]{{true, false}, {true, false}};
    const TestOperation* operations[2]{&first.receive(&events[0]), &second.receive(&events[1])};
    PortEvent go_on(true, false);
    TestHost inner;
    std::atomic<bool> waits{false};
    first.post([&] {
        waits = true;
        EXPECT_EQ(wait_for(inner, go_on).end, End::met);
    });
    std::thread waiter([&] {
        TestHost host;
        AwaitedEvents awaited({&events[0], &events[1]}, true);
        EXPECT_EQ(Wait(host, awaited, nullptr, for_ever).wait().end, End::met);
    });
    until([&] { return waits.load(); });
    second.post([] {});
    host_.on_signals = [&] {
        if (!second.runner.mine()) {
            throw Raised();  // the contender would have to wait for the callback
        }
    };
    Ran ran;
    EXPECT_NO_THROW(ran = run_once(host_, second, for_ever));
    EXPECT_FALSE(ran.refused);
    EXPECT_EQ(ran.count, 1U);
    go_on.set();
    first.finish(*operations[0]);
    second.finish(*operations[1]);
    waiter.join();
}

TEST_F(WaitTest, RunsThePortOnceItsRunnerHasLeft) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    std::thread runner([&] {
        TestHost host;
        const Ran ran = run(host, port, false);
        EXPECT_FALSE(ran.refused);
        EXPECT_FALSE(ran.error);
    });
    until([&] { return port.backend().blocks(); });
    std::thread waiter([&] {
        TestHost host;
        EXPECT_EQ(wait_for(host, event).end, End::met);
    });
    until([&] { return port.waiters.any(); });
    stop(host_, port);
    runner.join();
    until([&] { return port.backend().blocks(); });
    port.finish(operation);
    waiter.join();
    EXPECT_TRUE(operation.handed_out);
}

TEST_F(WaitTest, TwoWaitersShareAPort) {
    TestPort port;
    PortEvent events[2]{{true, false}, {true, false}};
    const TestOperation* operations[2]{&port.receive(&events[0]), &port.receive(&events[1])};
    std::vector<std::thread> waiters;
    for (PortEvent& event : events) {
        waiters.emplace_back([&event] {
            TestHost host;
            EXPECT_EQ(wait_for(host, event).end, End::met);
        });
    }
    until([&] { return port.backend().blocks(); });
    port.finish(*operations[1]);
    waiters[1].join();
    until([&] { return port.backend().blocks(); });
    port.finish(*operations[0]);
    waiters[0].join();
}

TEST_F(WaitTest, TurnsSeveralPortsInTurn) {
    TestPort first;
    TestPort second;
    PortEvent events[2]{{true, false}, {true, false}};
    first.receive(&events[0]);
    const TestOperation& operation = second.receive(&events[1]);
    first.backend().on_wait = [&] { second.finish(operation); };
    AwaitedEvents awaited({&events[0], &events[1]}, false);
    EXPECT_EQ(Wait(host_, awaited, nullptr, for_ever).wait().end, End::met);
    EXPECT_EQ(awaited.index(), 1U);
    EXPECT_LE(first.backend().waits().front(), 2'000'000);
}

TEST_F(WaitTest, FindsThePortOfAnEventThatIsPostedMeanwhile) {
    TestPort port;
    PortEvent event(true, false);
    bool posted = false;
    host_.on_signals = [&] {
        if (!std::exchange(posted, true)) {
            port.finish(port.receive(&event));
        }
    };
    EXPECT_EQ(wait_for(host_, event).end, End::met);
}

TEST_F(WaitTest, ClosedByAnotherThreadKeepsTheBackendUntilItGoesOn) {
    std::atomic<bool> released{false};
    TestPort port;
    port.backend().on_end = [&] { released = true; };
    PortEvent event(false, false);
    PortEvent stays(true, false);
    port.receive(&event);
    std::thread waiter([&] {
        TestHost host;
        AwaitedEvents awaited({&event, &stays}, true);
        EXPECT_EQ(Wait(host, awaited, nullptr, for_ever).wait().end, End::met);
    });
    until([&] { return port.backend().blocks(); });
    EXPECT_FALSE(close(host_, port, 0).error);
    EXPECT_TRUE(port.closed);
    EXPECT_FALSE(released) << "the waiting thread may be about to ask it";
    stays.set();
    waiter.join();
    EXPECT_TRUE(released);
    EXPECT_EQ(port.closes, 1);
}

TEST_F(WaitTest, AThrowingHookReleasesEverything) {
    TestPort port;
    PortEvent event(true, false);
    const TestOperation& operation = port.receive(&event);
    host_.on_dispatch = [] { throw Raised(); };
    port.backend().wake();
    EXPECT_THROW((void)wait_for(host_, event), Raised);
    EXPECT_FALSE(port.runner.mine());
    host_.on_dispatch = nullptr;
    host_.on_signals = [] { throw Raised(); };
    EXPECT_THROW((void)wait_for(host_, event), Raised);
    EXPECT_FALSE(port.runner.mine());
    EXPECT_FALSE(port.waiters.any());
    host_.on_signals = nullptr;
    port.finish(operation);
    EXPECT_EQ(wait_for(host_, event).end, End::met);
}

class TestRoutines final : public Routines {
public:
    explicit TestRoutines(TestPort& port) : port_(port) {}
    void find_ports(FoundPorts& out) override { out.add(port_); }
    [[nodiscard]] bool any_due() const override { return due; }
    void run_due() override {
        due = false;
        run();
    }
    std::atomic<bool> due{false};
    std::function<void()> run;

private:
    TestPort& port_;
};

TEST_F(WaitTest, ARoutineEndsIt) {
    TestPort port;
    TestRoutines routines(port);
    AwaitedTime awaited;
    bool ran = false;
    routines.run = [&] {
        ran = true;
        EXPECT_FALSE(port.runner.mine()) << "a routine may run the port";
        EXPECT_EQ(run_once(host_, port, 0).refused, false);
    };
    port.post([&] { routines.due = true; });
    EXPECT_EQ(Wait(host_, awaited, &routines, for_ever).wait().end, End::routines_ran);
    EXPECT_TRUE(ran);
    routines.due = true;
    routines.run = [] { throw Raised(); };
    EXPECT_THROW((void)Wait(host_, awaited, &routines, for_ever).wait(), Raised);
}

TEST_F(WaitTest, ARoutineThatBecomesDueWakesTheSleeper) {
    TestPort port;
    TestRoutines routines(port);
    AwaitedTime awaited;
    routines.run = [] {};
    std::thread other([&] {
        until([&] { return port.backend().blocks(); });
        routines.due = true;
        const std::lock_guard lock(Event::mutex());
        routines.waiters.notify_all();
    });
    EXPECT_EQ(Wait(host_, awaited, &routines, for_ever).wait().end, End::routines_ran);
    other.join();
}

TEST_F(WaitTest, OnAModelTakesVirtualTime) {
    TestPort port({}, true);
    PortEvent event(true, false);
    port.receive(&event);
    const std::int64_t before = port.after(host_, 0);
    EXPECT_EQ(wait_for(host_, event, 3600 * second).end, End::timed_out);
    EXPECT_EQ(port.after(host_, 0) - before, 3600 * second);
    const Waited waited = wait_for(host_, event);
    EXPECT_EQ(waited.end, End::failed);
    EXPECT_EQ(waited.error.fault, Fault::nothing_due);
    EXPECT_EQ(waited.port.get(), &port);
}

// The time of a callback counts against the timeout of the wait.
TEST_F(WaitTest, NoDelayIsWaitedTwice) {
    TestPort port({}, true);
    PortEvent event(true, false);
    port.receive(&event);
    port.post([&] { port.backend().advance(10 * second); });
    EXPECT_EQ(wait_for(host_, event, 10 * second).end, End::timed_out);
    EXPECT_EQ(port.backend().waits(), std::vector<std::int64_t>{0}) << "the packet was ready";
}

// A wait on a model fails if nothing can end it, inside a callback as well.
TEST_F(WaitTest, InsideACallbackOfAModelFailsIfNothingCanEndIt) {
    TestPort port({}, true);
    PortEvent event(true, false);
    port.receive(&event);
    Fault fault = Fault::none;
    TestHost inner;
    port.post([&] { fault = wait_for(inner, event).error.fault; });
    EXPECT_EQ(run_once(host_, port, 0).count, 1U);
    EXPECT_EQ(fault, Fault::nothing_due);
}

// A wait that began by the system's clock goes on by a model's, with the time that was left.
TEST_F(WaitTest, NeverComparesTwoClocks) {
    TestPort port({}, true);
    PortEvent event(true, false);
    bool posted = false;
    host_.on_signals = [&] {
        if (!std::exchange(posted, true)) {
            port.receive(&event);
        }
    };
    const std::int64_t before = port.after(host_, 0);
    EXPECT_EQ(wait_for(host_, event, 5 * second).end, End::timed_out);
    EXPECT_LE(port.after(host_, 0) - before, 5 * second);
}

// The model's clock is far behind the system's. The difference must not count as time that has
// passed.
TEST_F(WaitTest, GoesOnByTheSystemsClockWhenItsModelCloses) {
    TestPort port({}, true);
    PortEvent event(true, false);
    PortEvent stays(true, false);
    port.receive(&event);
    port.post([&] {
        const std::lock_guard lock(port.core->mutex());
        port.core->begin_close(0);
    });
    int rounds = 0;
    host_.on_signals = [&] {
        if (port.closed && ++rounds == 2) {
            stays.set();
        }
        port.waiters.notify_all();  // so that no round of the wait sleeps
    };
    AwaitedEvents awaited({&event, &stays}, true);
    EXPECT_EQ(Wait(host_, awaited, nullptr, 3600 * second).wait().end, End::met);
    EXPECT_TRUE(port.closed);
}

TEST_F(WaitTest, ManyThreadsWaitForOnePort) {
    constexpr int rounds = 100;
    TestPort port;
    std::vector<std::thread> threads;
    std::atomic<int> met{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            TestHost host;
            PortEvent event(false, false);
            std::vector<const TestOperation*> operations;
            for (int round = 0; round < rounds; ++round) {
                operations.push_back(&port.receive(&event));
                port.finish(*operations.back());
                met += wait_for(host, event).end == End::met ? 1 : 0;
            }
            for (const TestOperation* operation : operations) {
                until([&] {
                    Inbox nothing;
                    (void)host.dispatch(port, nothing);
                    return operation->handed_out.load();
                });
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(met, 4 * rounds);
}

}  // namespace
}  // namespace iocp::run
