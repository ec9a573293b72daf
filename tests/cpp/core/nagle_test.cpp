// Nagle's algorithm stalls two small sends that precede a wait for data. The core notices the
// pattern, asks the system, and notifies the application (R19).
#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

constexpr What small{.length = 16};
constexpr What large{.length = 5000};

class NagleTest : public CoreTest {
protected:
    void SetUp() override {
        CoreTest::SetUp();
        backend().nagle_says = Nagle::holding;
        socket_ = &open_socket();
    }

    // Posts a send that the system takes whole at once.
    void take(What what = small) {
        backend().on(*socket_).attempts.push_back(done(static_cast<std::int64_t>(what.length)));
        EXPECT_TRUE(send(*socket_, what).accepted);
    }
    // Delivers the data that a posted receive waited for.
    void answer(const Posted& waiting) {
        backend().deliver(waiting.id, 4);
        turn();
        EXPECT_TRUE(waiting.completed());
    }
    void exchange(int sends) {
        for (int i = 0; i < sends; ++i) {
            take();
        }
        answer(receive(*socket_));
    }
    [[nodiscard]] int asked() {
        int count = 0;
        for (const std::string& name : calls(*socket_)) {
            count += name == "nagle" ? 1 : 0;
        }
        return count;
    }
    [[nodiscard]] std::uint64_t counted() {
        return locked([&] { return port().figures().counts().nagle_stalls; });
    }

    Socket* socket_{nullptr};
};

TEST_F(NagleTest, TheThirdTimeIsTold) {
    for (int i = 0; i < 2; ++i) {
        exchange(2);
        EXPECT_EQ(nagle_stalls, 0);
    }
    exchange(2);
    EXPECT_EQ(nagle_stalls, 1);
    EXPECT_EQ(counted(), 1U);
}

TEST_F(NagleTest, OncePerPortAndCountedPerSocket) {
    Socket* first = socket_;
    Socket& second = open_socket();
    for (Socket* socket : {first, &second, first}) {
        socket_ = socket;
        for (int i = 0; i < 10; ++i) {
            exchange(2);
        }
    }
    EXPECT_EQ(nagle_stalls, 1);
    EXPECT_EQ(counted(), 2U);
}

TEST_F(NagleTest, AReceiveMayHaveBeenPostedBefore) {
    for (int i = 0; i < 3; ++i) {
        Posted& waiting = receive(*socket_);
        take();
        EXPECT_EQ(asked(), i);
        take();
        EXPECT_EQ(asked(), i + 1);
        take();
        EXPECT_EQ(asked(), i + 1) << "once for each wait";
        answer(waiting);
    }
    EXPECT_EQ(nagle_stalls, 1);
}

TEST_F(NagleTest, ASubscriptionWaitsAllTheTime) {
    Posted& each =
        post(*socket_, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    for (int i = 0; i < 3; ++i) {
        for (int part = 0; part < 2; ++part) {
            Posted& sending = send(*socket_, {.length = 16, .batched = true});
            backend().on(*socket_).starts.push_back(done(16));
            turn();
            EXPECT_TRUE(sending.succeeded());
        }
        EXPECT_EQ(asked(), i + 1);
        backend().on(*socket_).reads.push_back(done(4));
        backend().deliver_ready(each.id);
        turn();
    }
    EXPECT_EQ(nagle_stalls, 1);
}

TEST_F(NagleTest, SendsOfOneFlushAreOneSend) {
    post(*socket_, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    for (int i = 0; i < 5; ++i) {
        send(*socket_, {.length = 16, .batched = true});
    }
    backend().on(*socket_).starts.push_back(done(80));
    turn();
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, RequestAndResponseAreNeverAskedAbout) {
    for (int i = 0; i < 20; ++i) {
        exchange(1);
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, DataInBetweenStartsAnew) {
    for (int i = 0; i < 20; ++i) {
        take();
        backend().on(*socket_).attempts.push_back(done(4));
        EXPECT_EQ(receive(*socket_).outcome, Outcome::done);
        exchange(1);
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, LargeSendsAreNoPartOfIt) {
    for (int i = 0; i < 10; ++i) {
        take();
        take(large);
        answer(receive(*socket_));
        take(large);
        take();
        answer(receive(*socket_));
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, SendsWithFlagsAreTheirCallersBusiness) {
    for (int i = 0; i < 10; ++i) {
        take({.length = 16, .flags = 0x8000});
        take();
        answer(receive(*socket_));
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, TheRestOfALargeSendIsNotSmall) {
    for (int i = 0; i < 10; ++i) {
        backend().on(*socket_).attempts.push_back(done(4900));
        backend().on(*socket_).starts.push_back(done(100));
        EXPECT_TRUE(send(*socket_, large).accepted);
        exchange(1);
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, ASocketWithoutNagleIsAskedOnce) {
    backend().nagle_says = Nagle::off;
    for (int i = 0; i < 10; ++i) {
        exchange(2);
    }
    EXPECT_EQ(asked(), 1);
    EXPECT_EQ(counted(), 0U);
}

TEST_F(NagleTest, WhatIsNeverHeldBackIsAskedAFewTimes) {
    backend().nagle_says = Nagle::idle;
    for (int i = 0; i < 100; ++i) {
        exchange(2);
    }
    EXPECT_EQ(asked(), 7);
    EXPECT_EQ(counted(), 0U);
}

TEST_F(NagleTest, DatagramsAreNeverAskedAbout) {
    socket_ = &open_socket(false);
    for (int i = 0; i < 10; ++i) {
        exchange(3);
    }
    EXPECT_EQ(asked(), 0);
}

TEST_F(NagleTest, TryingCountsAsPosting) {
    std::byte bytes[16]{};
    std::int64_t count = 0;
    for (int i = 0; i < 3; ++i) {
        for (int part = 0; part < 2; ++part) {
            backend().on(*socket_).attempts.push_back(done(16));
            EXPECT_FALSE(
                locked([&] { return port().operations().try_send(*socket_, bytes, 16, count); }));
        }
        answer(receive(*socket_));
    }
    EXPECT_EQ(counted(), 1U);
    Socket* first = socket_;
    socket_ = &open_socket();
    for (int i = 0; i < 10; ++i) {
        take();
        backend().on(*socket_).reads.push_back(done(4));
        EXPECT_FALSE(
            locked([&] { return port().operations().try_receive(*socket_, bytes, 16, count); }));
        exchange(1);
    }
    EXPECT_EQ(counted(), 1U) << "data was read in between";
    socket_ = first;
}

}  // namespace
}  // namespace iocp::scripted
