// Subscriptions to a stream, and an echo server that uses them.
#include <algorithm>
#include <random>

#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

TEST_P(Contract, SubscriptionsDeliverTheStreamWhateverTheStrategy) {
    for (const ReceiveStrategy strategy :
         {ReceiveStrategy::pooled, ReceiveStrategy::direct, ReceiveStrategy::zero_byte}) {
        for (const bool tcp : {true, false}) {
            const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
            Op& stream = engine().subscribe(*other, strategy);
            engine().settle();
            EXPECT_EQ(engine().charged(),
                      strategy == ReceiveStrategy::direct ? system_page_size() : 0U);
            std::size_t sent = 0;
            std::mt19937 random(9);
            for (int i = 0; i < 300; ++i) {
                const std::size_t length = i % 10 == 0 ? random() % 100'000 : random() % 600;
                engine().send(*one, pattern(length, sent), {.batched = random() % 2 == 0});
                sent += length;
                if (i % 7 == 0) {
                    engine().settle(1);
                }
            }
            engine().shutdown_sending(*one);
            ASSERT_TRUE(engine().finish_one(stream));
            EXPECT_TRUE(stream.succeeded());
            EXPECT_EQ(stream.ends, 1);
            ASSERT_EQ(stream.received.size(), sent);
            EXPECT_EQ(stream.received, pattern(sent));
            EXPECT_EQ(engine().charged(), 0U);
        }
    }
}

TEST_P(Contract, ASubscriptionSwitchesBetweenSmallAndLargeMessages) {
    const auto [one, other] = engine().pair();
    Op& stream = engine().subscribe(*other, ReceiveStrategy::pooled);
    std::size_t sent = 0;
    for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < 60; ++i) {
            const std::size_t length = round % 2 == 0 ? 32 : 100'000;
            engine().send(*one, pattern(length, sent));
            sent += length;
            ASSERT_TRUE(engine().run_until([&] { return stream.received.size() == sent; }));
        }
    }
    EXPECT_EQ(stream.received, pattern(sent));
}

TEST_P(Contract, DataAndEndThatAreThereBeforeTheSubscriptionAreDelivered) {
    for (const ReceiveStrategy strategy :
         {ReceiveStrategy::pooled, ReceiveStrategy::direct, ReceiveStrategy::zero_byte}) {
        const auto [one, other] = engine().pair();
        engine().send(*one, pattern(20'000));
        engine().shutdown_sending(*one);
        ASSERT_TRUE(wait_readable(*other));
        Op& stream = engine().subscribe(*other, strategy);
        ASSERT_TRUE(engine().finish_one(stream));
        EXPECT_EQ(stream.received, pattern(20'000));
        EXPECT_EQ(stream.ends, 1);
    }
}

TEST_P(Contract, ACancelledSubscriptionLeavesTheRestToBeRead) {
    const auto [one, other] = engine().pair();
    std::size_t sent = 0;
    Bytes received;
    for (int i = 0; i < 200; ++i) {
        Op& stream = engine().subscribe(*other, static_cast<ReceiveStrategy>(i % 3));
        engine().send(*one, pattern(100, sent));
        sent += 100;
        engine().settle(i % 3);
        engine().cancel(stream);
        ASSERT_TRUE(engine().finish_one(stream));
        received.insert(received.end(), stream.received.begin(), stream.received.end());
    }
    if (received.size() < sent) {
        const Bytes rest = read_exactly(*other, sent - received.size());
        received.insert(received.end(), rest.begin(), rest.end());
    }
    EXPECT_EQ(received, pattern(sent));
}

TEST_P(Contract, AReaderThatHoardsDoesNotStarveTheOthers) {
    PortOptions options;
    options.region_size = 64 * system_page_size();
    options.region_limit = 6;
    make(options);
    const auto [one, other] = engine().pair();
    const auto [third, fourth] = engine().pair();
    std::vector<std::pair<Region*, Bytes>> hoard;
    Op& hoarder = engine().subscribe(*other, ReceiveStrategy::pooled, [&](Op& op) {
        op.on_data = [&](Op&, const Slice& slice) {
            slice.region()->add_reference();
            hoard.emplace_back(slice.region(), Bytes(slice.data(), slice.data() + slice.length()));
        };
    });
    Op& modest = engine().subscribe(*fourth, ReceiveStrategy::pooled);
    std::size_t sent = 0;
    for (int i = 0; i < 200; ++i) {
        engine().send(*one, pattern(30'000));
        engine().send(*third, pattern(100, sent));
        sent += 100;
        ASSERT_TRUE(engine().run_until([&] { return modest.received.size() == sent; }));
    }
    std::size_t hoarded = 0;
    ASSERT_TRUE(engine().run_until([&] {
        hoarded = 0;
        for (const auto& [region, bytes] : hoard) {
            hoarded += bytes.size();
        }
        return hoarded == 200 * 30'000;
    }));
    EXPECT_EQ(modest.received, pattern(sent));
    EXPECT_LE(engine().pool().blocks_out(), options.region_limit + 4);
    engine().cancel(hoarder);
    for (const auto& [region, bytes] : hoard) {
        region->drop_reference();
    }
}

TEST_P(Contract, AnEchoServerServesManyConnections) {
    Socket& listener = engine().listener();
    engine().post(listener, OperationKind::accept_each, {}, {}, [&](Op& op) {
        op.on_connection = [&](Op&, Socket& socket) {
            engine().subscribe(socket, ReceiveStrategy::pooled, [&](Op& stream) {
                stream.on_data = [&](Op& from, const Slice& slice) {
                    engine().send(*from.socket, Bytes(slice.data(), slice.data() + slice.length()),
                                  {.batched = true});
                };
            });
        };
    });
    constexpr int clients = 64;
    constexpr std::size_t rounds = 20;
    struct Client {
        Socket* socket;
        Op* stream;
        std::size_t sent{0};
    };
    std::vector<Client> all;
    for (int i = 0; i < clients; ++i) {
        Socket& socket = engine().open();
        engine().connect(socket, engine().name_of(listener));
        all.push_back({&socket, nullptr});
    }
    std::mt19937 random(1);
    for (Client& client : all) {
        ASSERT_TRUE(engine().run_until([&] { return client.socket->connected; }));
        client.stream = &engine().subscribe(*client.socket, ReceiveStrategy::pooled);
    }
    for (std::size_t round = 0; round < rounds; ++round) {
        for (Client& client : all) {
            for (unsigned i = 0; i <= random() % 3; ++i) {
                const std::size_t length = 1 + (random() % (round % 5 == 0 ? 20'000 : 200));
                engine().send(*client.socket, pattern(length, client.sent),
                              {.batched = random() % 2 == 0});
                client.sent += length;
            }
        }
        ASSERT_TRUE(engine().run_until([&] {
            return std::all_of(all.begin(), all.end(), [](const Client& client) {
                return client.stream->received.size() == client.sent;
            });
        }));
    }
    for (const Client& client : all) {
        EXPECT_EQ(client.stream->received, pattern(client.sent));
    }
    EXPECT_EQ(engine().charged(), 0U);
}

}  // namespace
}  // namespace iocp::contract
