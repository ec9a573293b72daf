// The figures of a port. The core's fixture checks after every step that they agree with the states
// of the operations.
#include "core/figures.hpp"

#include "core_fixture.hpp"

namespace iocp::scripted {
namespace {

class FiguresTest : public CoreTest {
protected:
    Figures figures(std::size_t max_sockets = 0) {
        Figures out;
        EXPECT_FALSE(locked([&] { return port().figures().take(max_sockets, out); }));
        keep_heaviest(out.by_socket, max_sockets);
        return out;
    }
};

TEST_F(FiguresTest, OperationsByKindAndState) {
    Socket& socket = open_socket();
    receive(socket);
    receive(socket);
    Posted& sent = send(socket);
    post(open_socket(), OperationKind::zero_byte);
    cancel(sent);
    const Tally tally = figures().tally;
    EXPECT_EQ(tally.operations(OperationKind::receive), 2U);
    EXPECT_EQ(tally.operations(OperationKind::send), 1U);
    EXPECT_EQ(tally.operations(OperationKind::zero_byte), 1U);
    EXPECT_EQ(tally.operations(State::queued), 1U);
    EXPECT_EQ(tally.operations(State::pending), 2U);
    EXPECT_EQ(tally.operations(State::cancelling), 1U);
    EXPECT_EQ(tally.pages(State::cancelling), 1U);
}

TEST_F(FiguresTest, QueueDepths) {
    PortOptions options;
    options.budget_bytes = page();
    options.over_budget = OverBudget::queue;
    make(options);
    receive(open_socket());
    receive(open_socket());
    Posted& last = receive(open_socket());
    EXPECT_EQ(figures().budget_queue, 2U);
    cancel(last);
    EXPECT_EQ(figures().budget_queue, 1U);
    EXPECT_EQ(figures().ready, 1U);
}

TEST_F(FiguresTest, BytesStillToGo) {
    Socket& socket = open_socket();
    backend().on(socket).attempts = {done(1000)};
    const Posted& first = send(socket, {.length = 5000});
    Posted& second = send(socket, {.length = 300});
    EXPECT_EQ(figures().send_queue_bytes, 4300U);
    cancel(second);
    EXPECT_EQ(figures().send_queue_bytes, 4000U);
    backend().deliver(first.id, 2500);
    turn();
    EXPECT_EQ(figures().send_queue_bytes, 1500U);
    backend().deliver(first.id, 1500);
    turn();
    EXPECT_EQ(figures().send_queue_bytes, 0U);
}

TEST_F(FiguresTest, AConnectHasNoBytesToSend) {
    Socket& socket = open_socket();
    post(socket, OperationKind::connect);
    EXPECT_EQ(locked([&] { return socket.sending.bytes; }), 0U);
    EXPECT_EQ(figures().send_queue_bytes, 0U);
}

TEST_F(FiguresTest, TheHeaviestSocketsFirst) {
    Socket& light = open_socket();
    Socket& heavy = open_socket();
    Socket& idle = open_socket();
    receive(light);
    receive(heavy, {.length = 3 * page()});
    send(heavy, {.length = 10});
    const Figures all = figures(10);
    ASSERT_EQ(all.by_socket.size(), 3U);
    EXPECT_EQ(all.by_socket[0].id.packed(), heavy.id.packed());
    EXPECT_EQ(all.by_socket[0].charged, 4 * page());
    EXPECT_EQ(all.by_socket[0].queued_bytes, 10U);
    EXPECT_EQ(all.by_socket[0].outstanding, 2U);
    EXPECT_EQ(all.by_socket[0].receives, 1U);
    EXPECT_EQ(all.by_socket[0].sends, 1U);
    EXPECT_EQ(all.by_socket[1].id.packed(), light.id.packed());
    EXPECT_EQ(all.by_socket[2].id.packed(), idle.id.packed());
    EXPECT_EQ(figures(1).by_socket.size(), 1U);
    EXPECT_EQ(figures(1).by_socket[0].handle, heavy.handle);
    EXPECT_TRUE(figures(0).by_socket.empty());
}

TEST_F(FiguresTest, ASubscriptionShowsItsStrategy) {
    Socket& socket = open_socket();
    post(socket, OperationKind::receive_each, {.strategy = ReceiveStrategy::zero_byte});
    const SocketFigures only = figures(1).by_socket.at(0);
    EXPECT_EQ(only.subscription, OperationKind::receive_each);
    EXPECT_EQ(only.strategy, ReceiveStrategy::zero_byte);
}

TEST_F(FiguresTest, LatenciesAreKeptOnRequest) {
    EXPECT_EQ(figures().latencies, nullptr);
    EXPECT_FALSE(port().operations().observed());
    PortOptions options;
    options.latency = true;
    make(options);
    Socket& socket = open_socket();
    const Posted& op = receive(socket);
    backend().time += 1'000;
    backend().deliver(op.id, 1);
    turn();
    backend().on(socket).attempts = {done(4096)};
    send(socket);
    backend().time += 50;
    turn();
    post(socket, OperationKind::receive_each);
    const auto latencies = figures().latencies;
    ASSERT_NE(latencies, nullptr);
    const auto of = [&](OperationKind kind) {
        return (*latencies)[static_cast<std::size_t>(kind)];
    };
    EXPECT_EQ(of(OperationKind::receive).count(), 1U);
    EXPECT_EQ(of(OperationKind::receive).sum(), 1'000U);
    EXPECT_EQ(of(OperationKind::send).sum(), 50U);
    EXPECT_EQ(of(OperationKind::receive_each).count(), 0U);
}

TEST_F(FiguresTest, OccupancyOfThePool) {
    const BufferPool::Occupancy none = pool().occupancy();
    EXPECT_EQ(none.blocks_out, 0U);
    Region* small = pool().take(1);
    Region* region = pool().take_region();
    const BufferPool::Occupancy some = pool().occupancy();
    EXPECT_EQ(some.blocks_out, 2U);
    EXPECT_EQ(some.regions_out, 1U);
    EXPECT_EQ(some.bytes_out, page() + pool().region_size());
    EXPECT_GE(some.blocks, some.blocks_out);
    EXPECT_GE(some.bytes, some.bytes_out);
    small->drop_reference();
    region->drop_reference();
    const BufferPool::Occupancy after = figures().pool;
    EXPECT_EQ(after.blocks_out, 0U);
    EXPECT_EQ(after.bytes_out, 0U);
    EXPECT_EQ(after.regions_out, 0U);
    EXPECT_EQ(after.bytes, some.bytes) << "memory stays for reuse";
}

}  // namespace
}  // namespace iocp::scripted
