// Datagrams and messages: their senders, destinations and borders, and their truncation.
#include "base/page_span.hpp"
#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

// Gives the post a Message over its whole memory, or over parts of the given lengths.
void enclose(Op& op, const std::vector<std::size_t>& lengths = {}) {
    op.message = std::make_unique<Message>();
    std::size_t at = 0;
    for (const std::size_t length : lengths) {
        op.parts.push_back({op.memory.data() + at, length});
        at += length;
    }
    if (lengths.empty()) {
        op.parts.push_back({op.memory.data(), op.memory.size()});
    }
}

class Datagrams : public Contract {
protected:
    Op& receive_from(Socket& socket, std::size_t bytes, What what = {}) {
        return engine().post(socket, OperationKind::receive, Bytes(bytes), what,
                             [](Op& op) { enclose(op); });
    }
    Op& send_to(Socket& socket, Bytes bytes, const Address& target) {
        return engine().post(socket, OperationKind::send, std::move(bytes), {}, [&](Op& op) {
            enclose(op);
            op.message->address = target;
        });
    }
    Op& subscribe(Socket& socket, std::uint32_t size = 65'535) {
        return engine().post(socket, OperationKind::receive_each, {},
                             {.strategy = ReceiveStrategy::datagrams, .block_size = size});
    }
    Socket& datagrams() { return engine().bound(platform::type_datagram); }

    static AddressText where(const Op& op) { return text_from_address(op.message->address); }
    std::uint16_t port_of(Socket& socket) {
        return text_from_address(engine().name_of(socket)).port;
    }
};

TEST_P(Datagrams, AReceiveTellsWhoSentIt) {
    Socket& server = datagrams();
    std::vector<Socket*> clients{&datagrams(), &datagrams()};
    for (const bool there : {true, false}) {
        for (Socket* client : clients) {
            Op* op = there ? nullptr : &receive_from(server, 100);
            if (!there) {
                EXPECT_EQ(op->outcome, Outcome::pending);
                engine().settle();
            }
            ASSERT_TRUE(
                engine().finish_one(send_to(*client, text("hello"), engine().name_of(server))));
            if (there) {
                ASSERT_TRUE(wait_readable(server));
                op = &receive_from(server, 100);
                EXPECT_EQ(op->outcome, Outcome::done);
            }
            ASSERT_TRUE(engine().finish_one(*op));
            EXPECT_TRUE(op->succeeded());
            EXPECT_EQ(taken(*op), text("hello"));
            EXPECT_EQ(where(*op).host, "127.0.0.1");
            EXPECT_EQ(where(*op).port, port_of(*client));
            EXPECT_EQ(op->answer, 0);
        }
    }
}

TEST_P(Datagrams, AnAnswerGoesToWhomeverItIsAddressed) {
    Socket& server = datagrams();
    std::vector<Socket*> clients{&datagrams(), &datagrams(), &datagrams()};
    for (std::size_t i = 0; i < clients.size(); ++i) {
        ASSERT_TRUE(
            engine().finish_one(send_to(*clients[i], pattern(10 + i), engine().name_of(server))));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const Op& question = receive_from(server, 100);
        ASSERT_TRUE(engine().finish_one(question));
        ASSERT_TRUE(
            engine().finish_one(send_to(server, taken(question), question.message->address)));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const Op& answer = receive_from(*clients[i], 100);
        ASSERT_TRUE(engine().finish_one(answer));
        EXPECT_EQ(taken(answer), pattern(10 + i));
        EXPECT_EQ(where(answer).port, port_of(server));
    }
}

TEST_P(Datagrams, AnEmptyDatagramIsOneToo) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    for (const bool there : {true, false}) {
        Op* op = there ? nullptr : &receive_from(server, 100);
        engine().settle();
        const Op& out = send_to(client, {}, engine().name_of(server));
        ASSERT_TRUE(engine().finish_one(out));
        EXPECT_TRUE(out.succeeded());
        if (there) {
            ASSERT_TRUE(wait_readable(server));
            op = &receive_from(server, 100);
        }
        ASSERT_TRUE(engine().finish_one(*op));
        EXPECT_TRUE(op->succeeded());
        EXPECT_EQ(op->transferred, 0U);
        EXPECT_EQ(where(*op).port, port_of(client));
    }
}

TEST_P(Datagrams, WhatDoesNotFitIsCutAndSaysSo) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    const auto post = [&](bool plain) -> Op& {
        return plain ? engine().receive(server, 10) : receive_from(server, 10);
    };
    for (const bool plain : {true, false}) {
        for (const bool there : {true, false}) {
            std::vector<Op*> ops;
            if (!there) {
                ops = {&post(plain), &post(plain)};
                engine().settle();
            }
            for (const std::size_t bytes : {1000U, 10U}) {
                ASSERT_TRUE(engine().finish_one(
                    send_to(client, pattern(bytes, bytes), engine().name_of(server))));
            }
            if (there) {
                ASSERT_TRUE(wait_readable(server));
                ops = {&post(plain), &post(plain)};
            }
            ASSERT_TRUE(engine().finish_all(ops));
            EXPECT_TRUE(ops[0]->succeeded() && ops[1]->succeeded());
            EXPECT_EQ(taken(*ops[0]), pattern(10, 1000));
            EXPECT_EQ(ops[0]->answer, platform::flag_truncated) << plain << there;
            EXPECT_EQ(taken(*ops[1]), pattern(10, 10)) << "the rest of the first is gone";
            EXPECT_EQ(ops[1]->answer, 0) << plain << there;
        }
    }
}

TEST_P(Datagrams, ADatagramIsScatteredOverItsBuffers) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    for (const bool there : {true, false}) {
        if (there) {
            ASSERT_TRUE(
                engine().finish_one(send_to(client, pattern(1000), engine().name_of(server))));
            ASSERT_TRUE(wait_readable(server));
        }
        const Op& op = engine().post(server, OperationKind::receive, Bytes(1200), {}, [](Op& op) {
            enclose(op, {1, 0, 99, 1000, 100});
        });
        if (!there) {
            EXPECT_EQ(op.outcome, Outcome::pending);
            ASSERT_TRUE(
                engine().finish_one(send_to(client, pattern(1000), engine().name_of(server))));
        }
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_EQ(taken(op), pattern(1000));
        EXPECT_EQ(where(op).port, port_of(client));
    }
}

TEST_P(Datagrams, AStreamIsScatteredToo) {
    const auto [one, other] = engine().pair();
    const auto scatter = [](Op& op) { enclose(op, std::vector<std::size_t>(1024, 3)); };
    const Op& waiting =
        engine().post(*other, OperationKind::receive, Bytes(std::size_t{3} * 1024), {}, scatter);
    const std::uint64_t charged = engine().charged();
    std::size_t pages = 0;
    for (const ConstBytes& part : waiting.parts) {
        pages +=
            page_span(reinterpret_cast<std::uintptr_t>(part.data), part.length, system_page_size());
    }
    EXPECT_EQ(charged, pages * system_page_size()) << "every page that its buffers touch";
    engine().send(*one, pattern(2000));
    ASSERT_TRUE(engine().finish_one(waiting));
    EXPECT_EQ(taken(waiting), pattern(waiting.transferred));
    const std::size_t rest = 2000 - waiting.transferred;
    EXPECT_EQ(read_exactly(*other, rest), pattern(rest, waiting.transferred));
    EXPECT_EQ(engine().charged(), 0U);
    const Op& filled = engine().post(*other, OperationKind::receive, Bytes(std::size_t{3} * 1024),
                                     {.flags = platform::flag_wait_all}, scatter);
    for (std::size_t at = 0; at < std::size_t{3} * 1024; at += 512) {
        engine().send(*one, pattern(512, at));
        engine().settle();
    }
    ASSERT_TRUE(engine().finish_one(filled));
    EXPECT_EQ(taken(filled), pattern(std::size_t{3} * 1024));
}

TEST_P(Datagrams, OrderIsKeptAndNothingIsRunTogether) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    std::vector<Op*> ops;
    for (int i = 0; i < 32; ++i) {
        ops.push_back(&receive_from(server, 100));
    }
    engine().settle();
    for (std::size_t i = 0; i < ops.size(); ++i) {
        send_to(client, pattern(i + 1, i), engine().name_of(server));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    for (std::size_t i = 0; i < ops.size(); ++i) {
        EXPECT_EQ(taken(*ops[i]), pattern(i + 1, i));
    }
}

TEST_P(Datagrams, ACancelledReceiveTakesNoDatagram) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    Op& op = receive_from(server, 100);
    Op& next = receive_from(server, 100);
    engine().settle();
    EXPECT_GT(engine().charged(), 0U);
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    send_to(client, text("kept"), engine().name_of(server));
    ASSERT_TRUE(engine().finish_one(next));
    EXPECT_EQ(taken(next), text("kept"));
    EXPECT_EQ(engine().charged(), 0U);
}

TEST_P(Datagrams, ACancelThatLosesTheRaceKeepsTheDatagram) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    for (int i = 0; i < 50; ++i) {
        Op& op = receive_from(server, 100);
        engine().settle(1);
        send_to(client, text("raced"), engine().name_of(server));
        engine().cancel(op);
        ASSERT_TRUE(engine().finish_one(op));
        if (op.error) {
            EXPECT_EQ(op.error.fault, Fault::cancelled);
            Op& again = receive_from(server, 100);
            ASSERT_TRUE(engine().finish_one(again));
            EXPECT_EQ(taken(again), text("raced"));
            EXPECT_EQ(where(again).port, port_of(client));
        } else {
            EXPECT_EQ(taken(op), text("raced"));
            EXPECT_EQ(where(op).port, port_of(client));
        }
    }
}

TEST_P(Datagrams, WithoutMemoryASocketIsClosedBeforeTheFirstTurn) {
    std::size_t sockets = 0;
    bool failed = true;
    for (unsigned place = 1; failed; ++place) {
        Socket& socket = datagrams();
        ++sockets;
        engine().receive(socket, 10);
        allocations::fail(place);
        engine().close(socket);
        allocations::all_again();
        failed = allocations::failed();
    }
    ASSERT_TRUE(engine().run_until([&] { return engine().closed.size() == sockets; }));
}

TEST_P(Datagrams, ABounceCompletesOneOperationAndReceivingGoesOn) {
    if (const char* reason = platform::deaf_after_bounce()) {
        // Checks for leaks before the skip, because printing its reason may open handles.
        engine().finish();
        GTEST_SKIP() << reason;
    }
    Socket& one = datagrams();
    Socket& peer = datagrams();
    const Address gone = engine().name_of(peer);
    engine().close(peer);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(peer); }));
    ASSERT_TRUE(engine().finish_one(engine().connect(one, gone)));
    Op& first = receive_from(one, 100);
    Op& second = receive_from(one, 100);
    engine().settle();
    engine().send(one, text("to nobody"));
    ASSERT_TRUE(engine().finish_one(first));
    EXPECT_TRUE(platform::is_bounce(first.error.code)) << first.error.code;
    engine().settle();
    EXPECT_FALSE(second.finished()) << "one error ends one receive";
    Socket& back = engine().open(platform::type_datagram);
    engine().locked([&] { EXPECT_EQ(port().backend().bind(back, gone), 0); });
    ASSERT_TRUE(engine().finish_one(send_to(back, text("alive"), engine().name_of(one))));
    ASSERT_TRUE(engine().finish_one(second));
    EXPECT_EQ(taken(second), text("alive"));
    EXPECT_EQ(one.state, SocketState::open);
}

TEST_P(Datagrams, ATooLongDatagramIsRefusedAndEndsNothing) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    const Op& out = send_to(client, Bytes(70'000), engine().name_of(server));
    if (out.accepted) {
        ASSERT_TRUE(engine().finish_one(out));
    }
    EXPECT_TRUE(platform::is_too_long((out.accepted ? out.error : out.refusal).code));
    send_to(client, text("short"), engine().name_of(server));
    const Op& in = receive_from(server, 100);
    ASSERT_TRUE(engine().finish_one(in));
    EXPECT_EQ(taken(in), text("short"));
}

TEST_P(Datagrams, ASubscriptionGetsEveryDatagramWithItsSender) {
    Socket& server = datagrams();
    std::vector<Socket*> clients{&datagrams(), &datagrams()};
    const Op& each = subscribe(server);
    engine().settle();
    EXPECT_EQ(engine().charged(), 0U);
    const std::size_t idle = engine().pool().blocks_out();
    const std::vector<std::size_t> sizes{1, 0, 1000, 9000, 0, 7, 60'000, 3};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        ASSERT_TRUE(engine().finish_one(
            send_to(*clients[i % 2], pattern(sizes[i], i), engine().name_of(server))));
        ASSERT_TRUE(engine().run_until([&] { return each.datagrams.size() == i + 1; }));
        EXPECT_EQ(each.datagrams[i].first, pattern(sizes[i], i));
        EXPECT_EQ(text_from_address(each.datagrams[i].second).port, port_of(*clients[i % 2]));
    }
    EXPECT_LE(engine().pool().blocks_out(), idle + 1) << "what was handed out was given back";
    EXPECT_EQ(engine().charged(), 0U);
    EXPECT_FALSE(each.finished());
}

TEST_P(Datagrams, ASubscriptionKeepsBordersAndOrderOfABurst) {
    Socket& server = datagrams();
    engine().set_option(server, platform::option_receive_buffer, 4 << 20);
    Socket& client = datagrams();
    const Op& each = subscribe(server);
    constexpr std::size_t count = 150;
    for (std::size_t i = 0; i < count; ++i) {
        send_to(client, pattern(i, i), engine().name_of(server));
    }
    ASSERT_TRUE(engine().run_until([&] { return each.datagrams.size() == count; }));
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(each.datagrams[i].first, pattern(i, i));
    }
}

TEST_P(Datagrams, ASubscriptionTellsOfWhatItCut) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    const Op& each = subscribe(server, 10);
    engine().settle();
    for (const std::size_t bytes : {11U, 10U}) {
        ASSERT_TRUE(engine().finish_one(send_to(client, pattern(bytes), engine().name_of(server))));
    }
    ASSERT_TRUE(engine().run_until([&] { return each.datagrams.size() == 2; }));
    EXPECT_EQ(each.datagrams[0].first, pattern(10));
    EXPECT_EQ(each.datagrams[1].first, pattern(10));
    ASSERT_EQ(each.errors.size(), 1U);
    EXPECT_EQ(each.errors[0].fault, Fault::truncated);
}

TEST_P(Datagrams, ABounceEndsNoSubscription) {
    if (const char* reason = platform::deaf_after_bounce()) {
        // Checks for leaks before the skip, because printing its reason may open handles.
        engine().finish();
        GTEST_SKIP() << reason;
    }
    Socket& one = datagrams();
    Socket& peer = datagrams();
    const Address gone = engine().name_of(peer);
    engine().close(peer);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(peer); }));
    ASSERT_TRUE(engine().finish_one(engine().connect(one, gone)));
    const Op& each = subscribe(one);
    engine().settle();
    for (std::size_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(engine().finish_one(engine().send(one, text("to nobody"))));
        ASSERT_TRUE(engine().run_until([&] { return each.errors.size() == i; }));
        EXPECT_TRUE(platform::is_bounce(each.errors.back().code));
    }
    Socket& back = engine().open(platform::type_datagram);
    engine().locked([&] { EXPECT_EQ(port().backend().bind(back, gone), 0); });
    ASSERT_TRUE(engine().finish_one(send_to(back, text("alive"), engine().name_of(one))));
    ASSERT_TRUE(engine().run_until([&] { return !each.datagrams.empty(); }));
    EXPECT_FALSE(each.finished());
    EXPECT_EQ(one.state, SocketState::open);
}

TEST_P(Datagrams, ACancelEndsASubscriptionAndTakesNothing) {
    Socket& server = datagrams();
    Socket& client = datagrams();
    Op& each = subscribe(server);
    engine().settle();
    EXPECT_TRUE(engine().cancel(each));
    ASSERT_TRUE(engine().finish_one(each));
    EXPECT_EQ(each.error.fault, Fault::cancelled);
    send_to(client, text("kept"), engine().name_of(server));
    const Op& op = receive_from(server, 100);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(taken(op), text("kept"));
}

TEST_P(Datagrams, StreamsAndDatagramsHaveSubscriptionsOfTheirOwn) {
    Socket& server = datagrams();
    EXPECT_EQ(engine().subscribe(server, ReceiveStrategy::pooled).refusal.fault, Fault::argument);
    const auto [one, other] = engine().pair();
    EXPECT_EQ(subscribe(*one).refusal.fault, Fault::argument);
    const auto longest = static_cast<std::uint32_t>(datagram::max_size(engine().pool()));
    EXPECT_EQ(subscribe(server, longest + 1).refusal.fault, Fault::argument);
    EXPECT_TRUE(subscribe(server, longest).accepted);
}

INSTANTIATE_TEST_SUITE_P(Backends, Datagrams, ::testing::ValuesIn(platform::backends()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace iocp::contract
