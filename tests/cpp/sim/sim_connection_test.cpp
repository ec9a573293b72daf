// Connections of the model: how they are made, refused and ended, and how faults hit them.
#include "sim_fixture.hpp"

namespace iocp::modelled {
namespace {

class Connection : public Model {};

TEST_F(Connection, AConnectTakesOneRoundTripAndBothEndsKnowTheNames) {
    make("windows-10");
    Socket& listener = engine().listener();
    const Op& accept = engine().post(listener, OperationKind::accept);
    Socket& client = engine().open();
    const std::int64_t since = now();
    const Op& connect = engine().connect(client, engine().name_of(listener));
    EXPECT_EQ(connect.outcome, Outcome::pending);
    ASSERT_TRUE(engine().finish_one(connect));
    EXPECT_EQ(now() - since, round_trip());
    ASSERT_TRUE(engine().finish_one(accept));
    Address name;
    EXPECT_EQ(port().backend().name_of(*accept.connection, true, name), 0);
    EXPECT_EQ(text_from_address(name).port, text_from_address(engine().name_of(client)).port);
}

TEST_F(Connection, AnAddressOfAnotherHostCanBeListenedTo) {
    make("linux");
    AddressText where{.family = family_inet, .host = "10.0.0.1", .port = 80};
    Address address;
    ASSERT_EQ(address_from_text(where, address).what, Resolution::What::found);
    Socket& listener = engine().open();
    EXPECT_EQ(port().backend().bind(listener, address), 0);
    EXPECT_EQ(port().backend().listen(listener, 1), 0);
    const Op& accept = engine().post(listener, OperationKind::accept);
    Socket& client = engine().open();
    const Op& connect = engine().connect(client, address);
    ASSERT_TRUE(engine().finish_one(connect));
    EXPECT_TRUE(connect.succeeded());
    ASSERT_TRUE(engine().finish_one(accept));
    EXPECT_EQ(text_from_address(engine().name_of(client)).host, "10.0.128.1");
    EXPECT_NE(port().backend().bind(engine().open(), address), 0) << "it is in use";
}

TEST_F(Connection, AFullQueueRefusesOnWindowsAndKeepsWaitingOnLinux) {
    for (const bool refuses : {true, false}) {
        make(refuses ? "windows-10" : "linux");
        Socket& listener = engine().listener(2);
        std::vector<Op*> connects;
        connects.reserve(3);
        for (int i = 0; i < 3; ++i) {
            connects.push_back(&engine().connect(engine().open(), engine().name_of(listener)));
        }
        pass(500 * millisecond);
        EXPECT_TRUE(connects[0]->succeeded() && connects[1]->succeeded());
        EXPECT_EQ(connects[2]->finished(), refuses);
        if (refuses) {
            EXPECT_TRUE(platform::is_refused(connects[2]->error.code));
        } else {
            ASSERT_TRUE(engine().finish_one(engine().post(listener, OperationKind::accept)));
            ASSERT_TRUE(engine().finish_one(*connects[2]));
            EXPECT_TRUE(connects[2]->succeeded()) << "its SYN was sent again";
        }
    }
}

TEST_F(Connection, AVanishedPeerEndsASendByTimeout) {
    make("windows-2000", [](Parameters& it) { it.send_buffer = 0; });
    const auto [one, other] = engine().pair();
    EXPECT_TRUE(inject_fault(*other, sim::InjectedFault::vanish));
    Op& op = engine().send(*one, pattern(1000));
    const std::int64_t since = now();
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_GT(now() - since, 10 * second);
    EXPECT_EQ(op.error.fault, Fault::system);
    EXPECT_EQ(engine().charged(), 0U);
    EXPECT_EQ(counts().retransmissions, 5U) << "the limit of the preset";
    ASSERT_TRUE(engine().run_until([&, socket = one] { return engine().is_closed(*socket); }));
    engine().abort(*other);
}

TEST_F(Connection, AStalledReaderClosesItsWindowAndNothingElse) {
    make("windows-2000", [](Parameters& it) { it.one_more_send = 0; });
    const auto [one, other] = engine().pair();
    const auto [third, fourth] = engine().pair();
    Op& stalled = reader(*other);
    Op& reading = reader(*fourth);
    EXPECT_TRUE(inject_fault(*other, sim::InjectedFault::stall));
    Op& stuck = engine().send(*one, pattern(100'000));
    Op& flowing = engine().send(*third, pattern(100'000));
    ASSERT_TRUE(engine().finish_one(flowing));
    pass(100 * second);
    EXPECT_EQ(reading.received, pattern(100'000));
    EXPECT_TRUE(stalled.received.empty());
    EXPECT_FALSE(stuck.finished());
    engine().abort(*one);
    ASSERT_TRUE(engine().finish_one(stuck));
}

TEST_F(Connection, AResetEndsBothEnds) {
    make("linux");
    const auto [one, other] = engine().pair();
    Op& mine = reader(*one);
    Op& theirs = engine().receive(*other, 10);
    EXPECT_TRUE(inject_fault(*one, sim::InjectedFault::reset));
    EXPECT_FALSE(inject_fault(*one, sim::InjectedFault::reset)) << "it is over";
    ASSERT_TRUE(engine().finish_all({&mine, &theirs}));
    EXPECT_TRUE(platform::is_reset(mine.error.code));
    EXPECT_TRUE(platform::is_reset(theirs.error.code));
}

TEST_F(Connection, AResetAfterTheEndOfTheStreamIsHeardOfOnWindowsOnly) {
    for (const bool hears : {false, true}) {
        make(hears ? "windows-10" : "linux");
        const auto [one, other] = engine().pair();
        engine().shutdown_sending(*other);
        pass(second);
        EXPECT_TRUE(inject_fault(*other, sim::InjectedFault::reset));
        const Op& end = engine().receive(*one, 10);
        if (hears) {
            EXPECT_TRUE(platform::is_reset(end.refusal.code));
            continue;
        }
        ASSERT_TRUE(engine().finish_one(end));
        EXPECT_TRUE(end.succeeded());
        EXPECT_EQ(end.transferred, 0U);
    }
}

TEST_F(Connection, AHalfCloseEndsOneDirection) {
    make("windows-10");
    const auto [one, other] = engine().pair();
    Op& theirs = reader(*other);
    EXPECT_TRUE(inject_fault(*one, sim::InjectedFault::half_close));
    ASSERT_TRUE(engine().finish_one(theirs));
    EXPECT_EQ(theirs.ends, 1);
    engine().send(*other, text("goes on"));
    Op& mine = engine().receive(*one, 10);
    ASSERT_TRUE(engine().finish_one(mine));
    EXPECT_EQ(taken(mine), text("goes on"));
    EXPECT_TRUE(engine().send(*one, text("never")).refusal);
}

TEST_F(Connection, AWaitThatNothingCanEndFails) {
    make("linux");
    const auto [one, other] = engine().pair();
    Op& op = engine().receive(*other, 10);
    const std::int64_t before = now();
    Error error;
    while (!error) {
        error = engine().turn(-1);
    }
    EXPECT_EQ(error.fault, Fault::nothing_due);
    EXPECT_EQ(now(), before) << "the timers of the handshake are disarmed and move no clock";
    EXPECT_FALSE(op.finished());
    engine().send(*one, text("x"));
    EXPECT_FALSE(engine().turn(-1)) << "something is due again";
    ASSERT_TRUE(engine().finish_one(op));
}

TEST_F(Connection, AnHourPassesAtOnce) {
    make("linux");
    const auto [one, other] = engine().pair();
    const std::int64_t since = now();
    Op& op = engine().receive(*other, 10, {.timeout = 3600 * second});
    ASSERT_FALSE(engine().turn(-1));
    engine().settle();
    EXPECT_EQ(op.error.fault, Fault::timed_out);
    EXPECT_EQ(now() - since, 3600 * second);
}

TEST_F(Connection, PortsOfOneWorldReachEachOther) {
    make("windows-10");
    Engine second_engine("sim", engine().options());
    ASSERT_TRUE(second_engine.usable());
    Socket& listener = engine().listener();
    const Op& accept = engine().post(listener, OperationKind::accept);
    Socket& client = second_engine.open();
    const Op& connect = second_engine.connect(client, engine().name_of(listener));
    ASSERT_TRUE(second_engine.finish_one(connect));
    ASSERT_TRUE(engine().finish_one(accept));
    second_engine.send(client, text("hello"));
    Op& op = engine().receive(*accept.connection, 10);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(taken(op), text("hello"));
    second_engine.finish();
    Op& last = engine().receive(*accept.connection, 10);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_EQ(last.transferred, 0U);
}

// Runs connect, accept, echo and close once for each charge that the model makes, and refuses that
// charge.
TEST_F(Connection, EveryRefusedChargeEndsInAnErrorOrSuccessAndLeavesNothing) {
    std::size_t refused = 0;
    std::int64_t charges = 0;
    for (std::int64_t n = 0; n <= charges; ++n) {
        make("windows-2000", [&](Parameters& it) {
            it.refuse_charge = n;
            it.send_buffer = 0;
        });
        std::size_t failures = 0;
        const auto came = [&](const Op& op) {
            const bool good = op.accepted && engine().finish_one(op) && !op.error;
            const Error& error = op.accepted ? op.error : op.refusal;
            failures += good ? 0U : 1U;
            EXPECT_TRUE(good || error.fault == Fault::resource || error.code != 0);
            return good;
        };
        Socket* listener = nullptr;
        Socket* client = nullptr;
        engine().locked([&] {
            for (Socket** socket : {&listener, &client}) {
                failures += port().sockets().open(family_inet, type_stream, 0, *socket) ? 1U : 0U;
            }
            if (listener != nullptr) {
                EXPECT_EQ(port().backend().bind(*listener, Engine::loopback()), 0);
                EXPECT_EQ(port().backend().listen(*listener, 4), 0);
            }
        });
        if (listener != nullptr && client != nullptr) {
            Op& accept =
                engine().post(*listener, OperationKind::accept, {}, {.timeout = 60 * second});
            Op& connect = engine().connect(*client, engine().name_of(*listener));
            if (came(connect) && came(accept)) {
                Op& incoming = engine().receive(*accept.connection, 5000, {.timeout = 60 * second});
                Op& outgoing = engine().send(*client, pattern(5000));
                if (came(outgoing) && came(incoming)) {
                    came(engine().send(*accept.connection, pattern(100)));
                }
            } else if (accept.accepted && !accept.finished()) {
                engine().cancel(accept);
            }
        }
        if (n == 0) {
            EXPECT_EQ(failures, 0U);
            charges = system().charges();
        }
        refused += failures != 0 ? 1U : 0U;
    }
    EXPECT_GE(charges, 8);
    EXPECT_GE(refused, 7U) << "a refused charge for a half-open connection looks like a lost SYN";
}

}  // namespace
}  // namespace iocp::modelled
