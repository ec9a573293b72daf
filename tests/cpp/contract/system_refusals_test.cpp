// Makes system calls of the Linux backends fail for as long as a test needs.
#ifdef __linux__

#include <thread>

#include "contract.hpp"
#include "system_calls_linux.hpp"

namespace iocp::contract {
namespace {

constexpr unsigned no_memory = 1;  // the index of ENOMEM among the errors of poll(2)

class SystemRefusals : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override { make({}); }
    void TearDown() override {
        engine_.reset();
        system_calls::all_again();
    }
    void make(const PortOptions& options) {
        engine_.reset();
        system_calls::refuse_one(0, 0);
        engine_ = std::make_unique<Engine>(GetParam(), options);
        if (!engine_->usable()) {
            GTEST_SKIP() << GetParam() << ": " << engine_->reason();
        }
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }
    [[nodiscard]] static bool on_epoll() { return GetParam() == "epoll"; }
    static void refuse_looks() {
        if (on_epoll()) {
            system_calls::refuse_every("poll", no_memory);
        } else {
            system_calls::refuse_every("request: poll", 0);
        }
    }

private:
    std::unique_ptr<Engine> engine_;
};

TEST_P(SystemRefusals, ALookThatIsRefusedIsNoReadiness) {
    const auto [one, other] = engine().pair();
    const Op& look = engine().post(*one, OperationKind::zero_byte);
    ASSERT_EQ(look.outcome, Outcome::pending);
    if (on_epoll()) {
        engine().settle();  // the poll after the registration finds no data
    }
    refuse_looks();
    engine().send(*other, text("x"));
    ASSERT_TRUE(engine().finish_one(look));
    EXPECT_TRUE(system_calls::all_again().refused);
    EXPECT_EQ(look.error.fault, Fault::resource);
}

TEST_P(SystemRefusals, ASubscriptionThatCannotLookIsStartedAgain) {
    for (const ReceiveStrategy strategy : {ReceiveStrategy::zero_byte, ReceiveStrategy::pooled}) {
        const auto [one, other] = engine().pair();
        refuse_looks();
        Op& op = engine().subscribe(*one, strategy);
        engine().settle();
        engine().send(*other, text("a word"));
        engine().settle();
        const bool refused = system_calls::all_again().refused;
        EXPECT_TRUE(refused || (!on_epoll() && strategy == ReceiveStrategy::pooled));
        EXPECT_TRUE(op.received.empty() || !refused);
        ASSERT_TRUE(engine().run_until([&] { return op.received == text("a word"); }));
        system_calls::refuse_every("", 0);
    }
}

TEST_P(SystemRefusals, ASubscriptionThatCannotLookIsNotAskedForAllTheTime) {
    const auto [one, other] = engine().pair();
    refuse_looks();
    const Op& op = engine().subscribe(*one, ReceiveStrategy::zero_byte);
    const std::int64_t until = port().now() + 50'000'000;
    const std::uint64_t waits = port().figures().counts().waits;
    while (port().now() < until) {
        ASSERT_FALSE(engine().turn(until));
    }
    EXPECT_LT(port().figures().counts().waits - waits, 10U);
    EXPECT_TRUE(system_calls::all_again().refused);
    EXPECT_FALSE(op.finished());
}

TEST_P(SystemRefusals, APortThatMayNotRunItsRingEndsEvenSo) {
    if (on_epoll()) {
        GTEST_SKIP() << "epoll has no ring";
    }
    Handle one = no_handle;
    Handle other = no_handle;
    ASSERT_TRUE(engine().socket_pair(one, other));
    engine().adopt(other);
    const Op& op = engine().receive(engine().adopt(one), 10);
    ASSERT_EQ(op.outcome, Outcome::pending);
    system_calls::refuse_every("io_uring_register", 0);
    const Error error = engine().turn(port().now());
    EXPECT_EQ(error.fault, Fault::system);
    engine().locked([&] { port().begin_close(0); });
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(port().sockets().open_count(), 0U);
    system_calls::all_again();
}

TEST_P(SystemRefusals, APortWhoseThreadIsGoneEndsWithoutItsRegisteredMemory) {
    if (on_epoll()) {
        GTEST_SKIP() << "epoll has no ring";
    }
    const Op& op = engine().receive(*engine().adopted_pair().one, 10);
    std::byte* memory = nullptr;
    std::thread([&] {
        EXPECT_FALSE(
            engine().locked([&] { return port().operations().register_memory(4096, memory); }));
        engine().settle();
    }).join();
    system_calls::refuse_every("io_uring_register", 0);
    EXPECT_EQ(engine().turn(port().now()).fault, Fault::resource);
    engine().locked([&] {
        port().operations().unregister(memory);
        port().begin_close(0);
    });
    EXPECT_TRUE(port().terminate());
    EXPECT_EQ(port().sockets().open_count(), 0U);
    EXPECT_FALSE(op.finished()) << "its completion is handed out in the next turn";
    system_calls::all_again();
}

TEST_P(SystemRefusals, MemoryIsRegisteredAndReleasedWithoutARing) {
    if (on_epoll()) {
        GTEST_SKIP() << "epoll has no ring";
    }
    std::byte* memory = nullptr;
    std::thread([&] {
        EXPECT_FALSE(
            engine().locked([&] { return port().operations().register_memory(4096, memory); }));
        engine().settle();
    }).join();
    system_calls::refuse_every("io_uring_register", 0);
    EXPECT_EQ(engine().turn(port().now()).fault, Fault::resource);
    system_calls::all_again();
    std::byte* more = nullptr;
    const auto add = [&] {
        return engine().locked([&] { return port().operations().register_memory(4096, more); });
    };
    const Error refused = add();
    EXPECT_EQ(refused.fault, Fault::resource);
    EXPECT_NE(refused.text, nullptr);
    engine().locked([&] { port().operations().unregister(memory); });
    system_calls::refuse_every("io_uring_register", 0);
    EXPECT_TRUE(engine().turn(port().now()));
    EXPECT_EQ(engine().view().registered, 0U) << "no ring holds the memory any more";
    system_calls::all_again();
    EXPECT_FALSE(engine().turn(port().now()));
    ASSERT_FALSE(add());
    engine().locked([&] { port().operations().unregister(more); });
    engine().settle();
    EXPECT_EQ(engine().view().registered, 0U);
}

TEST_P(SystemRefusals, ATakeOverWaitsForItsProvidedBuffers) {
    if (on_epoll() || !port().backend().capabilities().multishot_receive) {
        GTEST_SKIP() << "no provided buffers";
    }
    system_calls::Seen seen;
    for (unsigned place = 1; seen.name != "io_uring_register"; ++place) {
        make({});
        std::thread([&] { engine().settle(); }).join();
        system_calls::refuse_one(place, 0);
        EXPECT_FALSE(engine().turn(port().now()));
        seen = system_calls::all_again();
        ASSERT_TRUE(seen.refused) << "a new ring registers its provided buffers";
    }
    EXPECT_TRUE(port().backend().capabilities().multishot_receive);
}

// Entries that find the ring full are submitted as soon as the ring has room, whatever made the
// room.
TEST_P(SystemRefusals, ARingThatMayNotBeSubmittedOnceTakesEverythingAfterwards) {
    if (on_epoll()) {
        GTEST_SKIP() << "epoll has no ring";
    }
    PortOptions options;
    options.backend.ring_entries = 8;
    make(options);
    engine().settle();
    std::vector<Op*> ops;
    std::vector<Engine::Pair> pairs;
    for (int i = 0; i < 20; ++i) {
        pairs.push_back(engine().adopted_pair());
        ops.push_back(&engine().receive(*pairs.back().other, 16));
    }
    constexpr unsigned try_again = 1;  // the index of EAGAIN among its errors
    system_calls::refuse_one(1, try_again);
    engine().settle();
    const system_calls::Seen seen = system_calls::all_again();
    EXPECT_TRUE(seen.refused);
    EXPECT_EQ(seen.name, "io_uring_enter");
    for (const Engine::Pair& pair : pairs) {
        engine().send(*pair.one, pattern(4));
    }
    ASSERT_TRUE(engine().finish_all(ops));
    for (const Op* op : ops) {
        EXPECT_EQ(taken(*op), pattern(4));
    }
}

INSTANTIATE_TEST_SUITE_P(Backends, SystemRefusals, ::testing::ValuesIn(platform::backends()),
                         [](const auto& backend) { return backend.param; });

}  // namespace
}  // namespace iocp::contract

#endif
