// Muted sends: the writes of an event loop's transports, which have no object. Their success makes
// no record, and nothing refuses them.
#include <cstring>

#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

class MutedSendTest : public CoreTest {
protected:
    Posted& muted(Socket& socket, What what = {}) {
        what.muted = true;
        what.batched = true;
        return send(socket, what);
    }
    // Gives the leases of the ended sends back, as the binding does. Returns their number.
    std::size_t take() {
        std::size_t count = 0;
        Operation* next = locked([&] { return port().take_notified(); });
        while (next != nullptr) {
            Operation* op = std::exchange(next, next->next_finished);
            auto* posted = static_cast<Posted*>(op->user);
            ++posted->completions;
            posted->core = nullptr;
            op->lease.give_back();
            locked([&] { port().operations().retire_notified(*op); });
            ++count;
        }
        return count;
    }
    void flush(Socket& socket) {
        locked([&] { port().sockets().flush(socket); });
    }
    std::uint64_t queued(const Socket& socket) {
        return locked([&]() -> std::uint64_t { return socket.sending.bytes; });
    }
};

TEST_F(MutedSendTest, ItsSuccessMakesNoRecord) {
    Socket& socket = open_socket();
    Posted& op = muted(socket);
    turn();
    EXPECT_THAT(calls(socket), Contains("start:send"));
    EXPECT_EQ(port().figures().ledger().now, page());
    backend().deliver(op.id, 4096);
    turn();
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(port().figures().ledger().now, 0U) << "refunded at once";
    EXPECT_EQ(op.leases_given_back, 0) << "the lease waits for a thread that may give it back";
    EXPECT_TRUE(port().any_notified());
    EXPECT_EQ(take(), 1U);
    EXPECT_EQ(op.leases_given_back, 1);
    EXPECT_EQ(port().operations().outstanding(), 0U);
}

TEST_F(MutedSendTest, OnlyTheFirstFailureOfASocketIsARecord) {
    Socket& socket = open_socket();
    Posted& first = muted(socket);
    Posted& second = muted(socket);
    turn();
    backend().deliver(first.id, -code_plain);
    turn();
    EXPECT_EQ(first.completions, 1);
    EXPECT_EQ(first.error.code, code_plain);
    EXPECT_EQ(second.completions, 0);
    EXPECT_EQ(take(), 1U);
    Posted& third = muted(socket);
    turn();
    backend().deliver(third.id, -code_plain);
    turn();
    EXPECT_EQ(third.completions, 0);
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, TheEndOfItsSocketIsItsOwnToo) {
    Socket& socket = open_socket();
    Posted& op = muted(socket);
    close(socket);
    turns(2);
    EXPECT_EQ(op.completions, 0);
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, ATurnWithLeasesToGiveBackDoesNotSleep) {
    Socket& socket = open_socket();
    muted(socket);
    backend().on(socket).starts.push_back(done(4096));
    turn_until(backend().time + 1'000'000'000);
    EXPECT_EQ(backend().waits.back(), 0);
    EXPECT_EQ(take(), 1U);
    turn_until(backend().time + 1'000'000'000);
    EXPECT_EQ(backend().waits.back(), 1'000'000'000);
}

TEST_F(MutedSendTest, OverTheBudgetItWaitsWithoutLendingItsMemory) {
    PortOptions options;
    options.budget_bytes = page();
    make(options);
    Socket& socket = open_socket();
    Posted& op = muted(socket, {.length = 3 * page()});
    EXPECT_FALSE(op.refusal);
    turn();
    EXPECT_THAT(calls(socket), Contains("start:send?"));
    EXPECT_EQ(port().figures().ledger().now, 0U);
    backend().deliver(op.id, static_cast<std::int64_t>(3 * page()));
    turn();
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, OverACapOnSendsItWaitsForItsPlace) {
    PortOptions options;
    options.caps.port_sends = 1;
    make(options);
    Socket& one = open_socket();
    Socket& other = open_socket();
    Posted& first = muted(one);
    Posted& second = muted(other);
    EXPECT_FALSE(second.refusal);
    turn();
    EXPECT_THAT(calls(other), Not(Contains("start:send")));
    backend().deliver(first.id, 4096);
    turns(2);
    EXPECT_THAT(calls(other), Contains("start:send"));
    backend().deliver(second.id, 4096);
    turn();
    EXPECT_EQ(take(), 2U);
}

TEST_F(MutedSendTest, TheCapOnBytesDoesNotRefuseIt) {
    Socket& socket = open_socket();
    locked([&] { port().sockets().set_marks(socket, {.high = 0, .low = 0, .cap = 100}); });
    EXPECT_FALSE(muted(socket, {.length = 101}).refusal);
    EXPECT_EQ(send(socket, {.length = 1}).refusal.fault, Fault::budget);
    flush(socket);
    close(socket);
    turns(2);
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, AFallIsToldOnce) {
    Socket& socket = open_socket();
    Posted& op = muted(socket, {.length = 1000});
    locked([&] { port().sockets().expect_fall(socket, 400); });
    turn();
    EXPECT_THAT(flow, IsEmpty());
    backend().deliver(op.id, 600);
    turns(2);
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, false)));
    backend().deliver(op.id, 400);
    turns(2);
    EXPECT_THAT(flow, ElementsAre(Pair(&socket, false))) << "nobody expects another";
    locked([&] { port().sockets().expect_fall(socket, 0); });
    turn();
    EXPECT_EQ(flow.size(), 2U) << "it has fallen already";
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, AFlushSendsByACall) {
    Socket& socket = open_socket();
    muted(socket, {.length = 100});
    muted(socket, {.length = 200});
    backend().on(socket).attempts.push_back(done(300));
    flush(socket);
    EXPECT_THAT(calls(socket), ElementsAre("attempt:send"));
    EXPECT_EQ(queued(socket), 0U);
    EXPECT_EQ(take(), 2U);
    turn();
    EXPECT_THAT(calls(socket), ElementsAre("attempt:send"));
}

TEST_F(MutedSendTest, WhatAFlushLeavesWaitsInTheKernel) {
    Socket& socket = open_socket();
    Posted& op = muted(socket, {.length = 300});
    backend().on(socket).attempts.push_back(done(100));
    flush(socket);
    EXPECT_EQ(queued(socket), 200U);
    ASSERT_NE(backend().request_of(op.id), nullptr);
    EXPECT_EQ(backend().request_of(op.id)->bytes, 200U);
    backend().deliver(op.id, 200);
    turn();
    EXPECT_EQ(take(), 1U);
}

TEST_F(MutedSendTest, BytesAreAddedToASendThatGathers) {
    Socket& socket = open_socket();
    Posted& op = muted(socket, {.length = 10, .gathers = true});
    const std::byte more[20]{std::byte{7}};
    const auto append = [&](std::size_t length) {
        return locked([&] { return port().operations().append(socket, more, length); });
    };
    EXPECT_TRUE(append(20));
    EXPECT_EQ(queued(socket), 30U);
    EXPECT_EQ(op.core->lease.length, 30U);
    EXPECT_EQ(op.core->lease.data[10], std::byte{7});
    EXPECT_FALSE(append(page() - 29)) << "no more than its page";
    turn();
    EXPECT_FALSE(append(1)) << "the kernel has it";
    EXPECT_EQ(backend().request_of(op.id)->bytes, 30U);
    backend().deliver(op.id, 30);
    turn();
    EXPECT_FALSE(append(1));
    muted(socket, {.length = 10});
    EXPECT_FALSE(append(1)) << "a send with memory of the caller's takes no more";
    close(socket);
    turns(2);
    EXPECT_EQ(take(), 2U);
}

TEST_F(MutedSendTest, ACancelOfADivisibleSendLeavesTheStreamWhole) {
    Socket& socket = open_socket();
    Posted& file = send(socket, {.length = 1000, .divisible = true});
    backend().deliver(file.id, 400);
    turn();
    EXPECT_TRUE(cancel(file));
    turns(2);
    EXPECT_EQ(file.transferred, 400U);
    Posted& next = send(socket, {.length = 10});
    EXPECT_FALSE(next.refusal);
    backend().deliver(next.id, 10);
    turn();
    EXPECT_TRUE(next.succeeded());
}

}  // namespace
}  // namespace iocp::scripted
