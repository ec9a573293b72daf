// The trace records every change of an operation's state once, in bounded memory.
#include "core/trace.hpp"

#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<TraceEvent> events_of(const Trace& trace) {
    std::vector<TraceEvent> events;
    trace.each_run([&](const TraceEvent* first, std::size_t count) {
        events.insert(events.end(), first, first + count);
    });
    return events;
}

TEST(TraceRingTest, KeepsTheLastEventsAndSaysHowManyItDropped) {
    Trace trace(3);
    EXPECT_EQ(trace.size(), 0U);
    EXPECT_THAT(events_of(trace), IsEmpty());
    for (std::int64_t i = 1; i <= 8; ++i) {
        TraceEvent event{};
        event.time = i;
        trace.add(event);
        const std::vector<TraceEvent> kept = events_of(trace);
        ASSERT_EQ(kept.size(), std::min<std::size_t>(static_cast<std::size_t>(i), 3));
        EXPECT_EQ(trace.size(), kept.size());
        EXPECT_EQ(trace.dropped(), static_cast<std::uint64_t>(i) - kept.size());
        for (std::size_t k = 0; k < kept.size(); ++k) {
            EXPECT_EQ(kept[k].time, i - static_cast<std::int64_t>(kept.size() - 1 - k));
        }
    }
}

class TraceTest : public CoreTest {
protected:
    void start() {
        EXPECT_EQ(exchange(std::make_unique<Trace>(4096)), nullptr);
        EXPECT_TRUE(port().operations().observed());
    }
    std::unique_ptr<Trace> exchange(std::unique_ptr<Trace> trace) {
        return locked([&] { return port().figures().exchange_trace(std::move(trace)); });
    }
    std::vector<TraceEvent> events() {
        if (stopped_ == nullptr) {
            stopped_ = exchange(nullptr);
        }
        return events_of(*stopped_);
    }
    std::vector<TraceEvent> events(const Posted& op) {
        std::vector<TraceEvent> own;
        for (const TraceEvent& event : events()) {
            if (event.operation == op.id.packed()) {
                own.push_back(event);
            }
        }
        return own;
    }
    std::vector<Stage> phases(const Posted& op) {
        std::vector<Stage> own;
        for (const TraceEvent& event : events(op)) {
            own.push_back(event.stage);
        }
        return own;
    }

private:
    std::unique_ptr<Trace> stopped_;
};

TEST_F(TraceTest, OffItRecordsNothingAndAsksForNothing) {
    EXPECT_FALSE(port().operations().observed());
    EXPECT_FALSE(port().figures().tracing());
    start();
    EXPECT_THAT(events(), IsEmpty());
    EXPECT_FALSE(port().operations().observed());
}

TEST_F(TraceTest, APendingReceive) {
    start();
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    backend().time += 500;
    backend().deliver(op.id, 7);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::pending, Stage::refunded,
                                        Stage::completed, Stage::dispatched));
    const std::vector<TraceEvent> all = events(op);
    EXPECT_EQ(all[0].bytes, 4096U);
    EXPECT_EQ(all[0].charged, 1U);
    EXPECT_EQ(all[0].ledger, 1U);
    EXPECT_EQ(all[0].outcome, Outcome::pending);
    EXPECT_EQ(all[0].handle, socket.handle);
    EXPECT_EQ(all[2].ledger, 0U);
    EXPECT_EQ(all[3].bytes, 7U);
    EXPECT_EQ(all[3].fault, Fault::none);
    EXPECT_EQ(all[3].time, all[0].time + 500);
}

TEST_F(TraceTest, WhatIsDoneByItsPost) {
    start();
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(4096)};
    const Posted& op = send(socket);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::completed, Stage::dispatched));
    EXPECT_EQ(events(op)[0].outcome, Outcome::done);
}

TEST_F(TraceTest, WithoutAPacketThePostIsTheHandOut) {
    PortOptions options;
    options.defaults.skip_done = true;
    make(options);
    start();
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(4096)};
    const Posted& op = send(socket);
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::completed, Stage::dispatched));
}

TEST_F(TraceTest, WhatWaitsInItsLane) {
    start();
    Socket& socket = open_socket();
    const Posted& first = receive(socket);
    const Posted& second = receive(socket);
    backend().deliver(first.id, 1);
    turn();
    backend().deliver(second.id, 1);
    turn();
    EXPECT_THAT(phases(second), ElementsAre(Stage::posted, Stage::queued, Stage::pending,
                                            Stage::refunded, Stage::completed, Stage::dispatched));
}

TEST_F(TraceTest, ARunOfSendsIsOneRequestAndEachItsOwnOperation) {
    start();
    Socket& socket = open_socket();
    const Posted& a = send(socket, {.length = 10, .batched = true});
    const Posted& b = send(socket, {.length = 20, .batched = true});
    turn();
    backend().deliver(a.id, 15);
    turn();
    backend().deliver(b.id, 15);
    turn();
    for (const Posted* op : {&a, &b}) {
        EXPECT_THAT(phases(*op), ElementsAre(Stage::posted, Stage::queued, Stage::pending,
                                             Stage::refunded, Stage::completed, Stage::dispatched));
    }
}

TEST_F(TraceTest, ACancelOfWhatTheKernelHoldsIsAskedOnce) {
    start();
    Socket& socket = open_socket();
    Posted& op = receive(socket);
    EXPECT_TRUE(cancel(op));
    EXPECT_FALSE(cancel(op));
    close(socket);
    turns(2);
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::pending, Stage::cancelled,
                                        Stage::refunded, Stage::completed, Stage::dispatched));
    EXPECT_EQ(events(op)[4].fault, Fault::cancelled);
}

TEST_F(TraceTest, ACancelOfWhatTheCoreHolds) {
    start();
    Socket& socket = open_socket();
    receive(socket);
    Posted& op = receive(socket);
    cancel(op);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::queued, Stage::cancelled,
                                        Stage::refunded, Stage::completed, Stage::dispatched));
}

TEST_F(TraceTest, ATimeout) {
    start();
    const Posted& op = receive(open_socket(), {.timeout = 1'000});
    turn_until(backend().time + 2'000);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::pending, Stage::cancelled,
                                        Stage::refunded, Stage::completed, Stage::dispatched));
    EXPECT_EQ(events(op)[4].fault, Fault::timed_out);
    EXPECT_EQ(events(op)[2].time, events(op)[0].time + 1'000);
}

TEST_F(TraceTest, TheEndOfASocketIsTheCancelOfAllItHolds) {
    start();
    Socket& socket = open_socket();
    const Posted& in_kernel = receive(socket);
    const Posted& behind = receive(socket);
    close(socket);
    turns(2);
    EXPECT_THAT(phases(in_kernel),
                ElementsAre(Stage::posted, Stage::pending, Stage::cancelled, Stage::refunded,
                            Stage::completed, Stage::dispatched));
    EXPECT_THAT(phases(behind), ElementsAre(Stage::posted, Stage::queued, Stage::cancelled,
                                            Stage::refunded, Stage::completed, Stage::dispatched));
}

TEST_F(TraceTest, WhatTheBudgetHoldsIsChargedWhenItMayGo) {
    PortOptions options;
    options.budget_bytes = page();
    options.over_budget = OverBudget::queue;
    make(options);
    start();
    const Posted& first = receive(open_socket());
    const Posted& held = receive(open_socket());
    backend().deliver(first.id, 1);
    turn();
    turn();
    backend().deliver(held.id, 1);
    turn();
    EXPECT_THAT(phases(held),
                ElementsAre(Stage::posted, Stage::queued, Stage::charged, Stage::pending,
                            Stage::refunded, Stage::completed, Stage::dispatched));
    EXPECT_EQ(events(held)[0].charged, 0U);
    EXPECT_EQ(events(held)[2].charged, 1U);
}

TEST_F(TraceTest, AConnectThatIsAskedAgain) {
    start();
    Socket& socket = open_socket();
    backend().on(socket).starts = {failed(code_queue_full), pending()};
    const Posted& op = post(socket, OperationKind::connect);
    turn_until(backend().time + 1'000'000);
    turn();
    backend().deliver(op.id, 0);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::pending, Stage::queued,
                                        Stage::pending, Stage::completed, Stage::dispatched));
    EXPECT_EQ(events(op)[0].bytes, 0U) << "an address is not data";
}

TEST_F(TraceTest, ASubscriptionYieldsAndItsBlocksAreChargedOneByOne) {
    start();
    Socket& socket = open_socket();
    const Posted& op =
        post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::direct});
    backend().deliver(op.id, 5);
    turn();
    EXPECT_THAT(phases(op), ElementsAre(Stage::posted, Stage::pending, Stage::charged,
                                        Stage::refunded, Stage::yielded, Stage::charged));
    EXPECT_EQ(events(op)[4].bytes, 5U);
}

TEST_F(TraceTest, TheLedgerOfEachEventIsThatOfTheMoment) {
    start();
    Socket& socket = open_socket();
    const Posted& a = receive(socket, {.length = 3 * page()});
    const Posted& b = receive(socket, {.length = 2 * page()});
    backend().deliver(a.id, 1);
    turn();
    backend().deliver(b.id, 1);
    turn();
    std::map<std::uint64_t, std::uint32_t> held;
    for (const TraceEvent& event : events()) {
        held[event.operation] = event.charged;
        std::uint32_t sum = 0;
        for (const auto& [operation, pages] : held) {
            sum += pages;
        }
        EXPECT_EQ(event.ledger, sum);
    }
}

}  // namespace
}  // namespace iocp::scripted
