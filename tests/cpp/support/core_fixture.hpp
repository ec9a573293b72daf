#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "backend/families.hpp"
#include "base/process.hpp"
#include "core/port.hpp"
#include "page_memory.hpp"
#include "port_under_test.hpp"
#include "scripted_backend.hpp"

namespace iocp::scripted {

// One post of a test, and all its results.
struct Posted : support::Post {
    int order{-1};                       // place of its completion among all completions
    std::vector<std::size_t> data;       // the lengths of the delivered buffers
    std::vector<std::byte> first_bytes;  // the first byte of each of these buffers
    std::vector<Error> accept_errors;
    std::vector<std::size_t> peers;  // lengths of the addresses of accepted connections
    std::vector<ConstBytes> parts;

    [[nodiscard]] bool completed() const { return completions == 1; }
    [[nodiscard]] bool succeeded() const { return completed() && !error; }
    [[nodiscard]] State state() const {
        return core != nullptr ? core->state.load(std::memory_order_relaxed) : State::idle;
    }
};

struct What {
    std::size_t length{4096};
    std::size_t offset{0};  // of the buffer from the start of a page
    std::int64_t timeout{-1};
    bool batched{false};
    bool muted{false};
    bool gathers{false};
    bool divisible{false};
    int flags{0};
    ReceiveStrategy strategy{ReceiveStrategy::pooled};
    std::uint32_t block_size{4096};
    std::vector<std::size_t> parts{};  // lengths of gathered parts, each on its own page
};

// The core on a scripted backend. After every step the fixture compares the ledger with the
// operations. At the end of each test no operation, socket, charge or handle may be left.
class CoreTest : public ::testing::Test, protected support::PortUnderTest {
protected:
    void SetUp() override { make({}); }

    void make(PortOptions options, Capabilities capable = {}) {
        finish();
        auto owned = std::make_unique<ScriptedBackend>();
        owned->capable = capable;
        backend_ = owned.get();
        make_pool(options);
        port_ = std::make_unique<Port>(options, *pool_, std::move(owned));
    }

    void TearDown() override { finish(); }

    ScriptedBackend& backend() { return *backend_; }
    static std::size_t page() { return system_page_size(); }

    Socket& open_socket(bool stream = true) {
        Socket* socket = nullptr;
        const Error error = locked([&] {
            return port_->sockets().open(family_inet, stream ? type_stream : type_stream + 1, 0,
                                         socket);
        });
        EXPECT_FALSE(error);
        return *socket;
    }

    Posted& post(Socket& socket, OperationKind kind, What what = {}) {
        Posted& posted = posted_.emplace_back();
        posted.socket = &socket;
        Lease lease;
        if (kind == OperationKind::receive || kind == OperationKind::send) {
            if (what.parts.empty()) {
                lease = posted.lease(memory(what.length + what.offset) + what.offset, what.length);
            } else {
                std::size_t total = 0;
                for (const std::size_t length : what.parts) {
                    posted.parts.push_back({memory(length), length});
                    total += length;
                }
                lease = posted.lease(reinterpret_cast<std::byte*>(posted.parts.data()), total);
            }
        } else if (kind == OperationKind::connect) {
            lease = posted.lease(memory(sizeof(Address)), sizeof(Address));
        } else if (kind == OperationKind::receive_each || kind == OperationKind::accept_each) {
            posted.leases_given_back = 1;  // a subscription has no lease to give back
        } else {
            lease = posted.lease(nullptr, 0);
        }
        const std::lock_guard lock(port_->mutex());
        const std::size_t in_use = port_->operations().table().used();
        Operation* op = port_->operations().create(socket, kind);
        EXPECT_NE(op, nullptr);
        op->lease = lease;
        op->slices = static_cast<std::uint16_t>(what.parts.size());
        op->flags = what.flags;
        op->batched = what.batched;
        op->muted = what.muted;
        op->gathers = what.gathers;
        op->divisible = what.divisible;
        op->strategy = what.strategy;
        op->block_size = what.block_size;
        op->user = &posted;
        posted.id = op->id;
        posted.take_outcome(*port_, *op, port_->operations().submit(*op, what.timeout));
        if (posted.refusal) {
            EXPECT_EQ(port_->operations().table().used(), in_use)
                << "a refused post leaves no slot in use";
        }
        check();
        return posted;
    }
    Posted& receive(Socket& socket, What what = {}) {
        return post(socket, OperationKind::receive, what);
    }
    Posted& send(Socket& socket, What what = {}) { return post(socket, OperationKind::send, what); }

    bool cancel(Posted& posted) {
        const bool taken = locked([&] { return port_->operations().cancel(*posted.core); });
        locked([&] { check(); });
        return taken;
    }
    void close(Socket& socket, std::int64_t timeout = 0) {
        locked([&] {
            port_->sockets().close(socket, timeout);
            check();
        });
    }
    void abort(Socket& socket) {
        locked([&] {
            port_->sockets().abort(socket);
            check();
        });
    }

    // Makes one turn that does not wait.
    Error turn() { return turn_until(backend_->time); }
    // Makes one turn that may wait until `deadline` by the scripted clock.
    Error turn_until(std::int64_t deadline) {
        std::vector<Ready> inbox;
        const Error error = port_->poll(deadline, inbox);
        const std::lock_guard lock(port_->mutex());
        check();
        hand_out(inbox);
        check();
        return error;
    }
    // Makes one turn that does not wait, while every allocation fails. Precondition: no record is
    // ready.
    Error turn_without_memory() {
        std::vector<Ready> inbox;
        allocations::fail(1, 1'000'000);
        const Error error =
            allocations::counted([&] { return port_->poll(backend_->time, inbox); });
        allocations::all_again();
        EXPECT_TRUE(inbox.empty());
        return error;
    }
    void turns(int count) {
        for (int i = 0; i < count; ++i) {
            turn();
        }
    }

    [[nodiscard]] std::vector<std::string> calls(const Socket& socket) const {
        return backend_->calls_on(socket.handle);
    }
    void forget_calls() { backend_->calls.clear(); }

    // The ready records without a Post: closed sockets, fired timers and Nagle stalls.
    struct Closed {
        Socket* socket;
        Handle handle;
        Error failure;
    };
    std::vector<Closed> closed;
    std::vector<Closed> ended;  // by an error, with the descriptor open
    std::vector<void*> fired;
    int nagle_stalls{0};
    // Runs for each buffer that a subscription delivers, with the port's lock held.
    std::function<void(Socket&)> on_data;
    bool keep_slices{false};
    std::vector<Slice> slices;

    [[nodiscard]] const Closed* closing_of(const Socket& socket) const {
        for (const Closed& one : closed) {
            if (one.socket == &socket) {
                return &one;
            }
        }
        return nullptr;
    }

    // Closes the port, and checks that no operation, socket, charge or handle is left.
    void finish() {
        if (port_ == nullptr) {
            return;
        }
        backend_->answers_cancels = true;
        backend_->on_start = nullptr;
        backend_->on_wait = nullptr;
        backend_->on_reap = nullptr;
        locked([&] { port_->begin_close(0); });
        constexpr std::int64_t long_enough = 60'000'000'000;
        for (int i = 0; i < 200 && port_->sockets().open_count() != 0; ++i) {
            turn_until(backend_->time + long_enough);
        }
        EXPECT_EQ(port_->sockets().open_count(), 0U);
        turns(2);
        support::expect_empty(*port_);
        EXPECT_TRUE(locked([&] { return port_->quiet(); }));
        EXPECT_TRUE(backend_->held().empty());
        EXPECT_EQ(backend_->open_handles(), expected_handles);
        support::expect_completed_once(posted_);
        slices.clear();
        release();
        posted_.clear();
    }
    std::size_t expected_handles{0};  // number of detached handles, which the test owns again

private:
    std::byte* memory(std::size_t length) { return memory_.take(length + page()); }

    // Checks that the ledger equals the operations' charges, in total and for each socket, and that
    // the figures agree with the operations' states. Precondition: the port is locked.
    void check() {
        check_figures();
        std::uint64_t pages = 0;
        std::map<const Socket*, std::uint64_t> by_socket;
        port_->operations().table().each([&](Operation& op) {
            pages += op.receipt.pages();
            if (op.socket != nullptr) {
                by_socket[op.socket] += op.receipt.pages();
            }
            const State state = op.state.load(std::memory_order_relaxed);
            if (state == State::completed || state == State::idle || op.held) {
                EXPECT_EQ(op.receipt.pages(), 0U);
            }
        });
        const LedgerView now = port_->figures().ledger();
        EXPECT_EQ(now.now, pages * page());
        EXPECT_EQ(now.now, now.receive + now.send);
        EXPECT_EQ(now.now, now.queued + now.pending + now.cancelling);
        EXPECT_GE(now.peak, now.now);
        if (now.budget != 0) {
            EXPECT_LE(now.peak, now.budget);
        }
        port_->sockets().table().each(
            [&](Socket& socket) { EXPECT_EQ(socket.charged_pages, by_socket[&socket]); });
    }

    void check_figures() {
        std::map<State, std::uint64_t> in_state;
        std::map<State, std::uint64_t> pages_in_state;
        std::map<OperationKind, std::uint64_t> of_kind;
        std::uint64_t held = 0;
        std::uint64_t to_send = 0;
        port_->operations().table().each([&](Operation& op) {
            const State state = op.state.load(std::memory_order_relaxed);
            if (state == State::idle || state == State::completed) {
                return;
            }
            ++in_state[state];
            pages_in_state[state] += op.receipt.pages();
            ++of_kind[op.kind];
            held += op.held ? 1U : 0U;
            to_send += op.bytes_to_send();
        });
        Figures figures;
        EXPECT_FALSE(port_->figures().take(0, figures));
        for (const State state : {State::queued, State::pending, State::cancelling}) {
            EXPECT_EQ(figures.tally.operations(state), in_state[state]);
            EXPECT_EQ(figures.tally.pages(state), pages_in_state[state]);
        }
        for (std::size_t kind = 0; kind < kinds; ++kind) {
            EXPECT_EQ(figures.tally.operations(static_cast<OperationKind>(kind)),
                      of_kind[static_cast<OperationKind>(kind)]);
        }
        EXPECT_EQ(figures.budget_queue, held);
        EXPECT_EQ(figures.send_queue_bytes, to_send);
    }

    void hand_out(std::vector<Ready>& inbox) {
        support::HandedOut out;
        for (Ready& ready : inbox) {
            hand_out(ready, out);
        }
        inbox.clear();
        out.retire(*port_);
    }

    void hand_out(Ready& ready, support::HandedOut& out) {
        if (port_->sockets().may_withhold(ready) &&
            port_->sockets().withhold(ready) == Withheld::yes) {
            return;
        }
        hand_out_now(ready, out);
    }

    void hand_out_now(Ready& ready, support::HandedOut& out) {
        auto* posted = ready.op != nullptr ? static_cast<Posted*>(ready.op->user) : nullptr;
        if (ready.what == Ready::What::completed && port_->operations().observed()) {
            port_->operations().handed_out(*ready.op);
        }
        switch (ready.what) {
            case Ready::What::completed:
                ++posted->completions;
                posted->order = finished_++;
                posted->connection = support::claimed(*port_, ready.op->accepted);
                posted->core = nullptr;
                EXPECT_EQ(ready.op->id.packed(), posted->id.packed());
                EXPECT_TRUE(ready.op->finished());
                posted->take_result(*ready.op);
                out.operations.push_back(ready.op);
                break;
            case Ready::What::data:
                if (ready.slice.length() == 0) {
                    ++posted->ends;
                } else {
                    EXPECT_EQ(posted->ends, 0) << "nothing follows the end of stream";
                    posted->data.push_back(ready.slice.length());
                    posted->first_bytes.push_back(*ready.slice.data());
                    if (on_data) {
                        on_data(*ready.socket);
                    }
                    if (keep_slices) {
                        slices.push_back(std::move(ready.slice));
                    }
                }
                break;
            case Ready::What::datagram:
                posted->data.push_back(ready.slice.length());
                break;
            case Ready::What::accepted:
                posted->peers.push_back(ready.slice.length());
                posted->connections.push_back(support::claimed(*port_, ready.accepted));
                break;
            case Ready::What::item_error:
                posted->accept_errors.push_back(ready.error);
                break;
            case Ready::What::closed:
                closed.push_back({ready.socket, ready.socket->handle, ready.socket->failure});
                EXPECT_EQ(ready.socket->state, SocketState::closed);
                out.sockets.push_back(ready.socket);
                break;
            case Ready::What::ended:
                ended.push_back({ready.socket, ready.socket->handle, ready.socket->failure});
                break;
            case Ready::What::pause_sends:
            case Ready::What::resume_sends:
                flow.emplace_back(ready.socket, ready.what == Ready::What::pause_sends);
                break;
            case Ready::What::resumed: {
                Ready kept;
                while (port_->sockets().take_withheld(*ready.socket, kept)) {
                    hand_out_now(kept, out);
                }
                break;
            }
            case Ready::What::timer:
                fired.push_back(ready.timer->target);
                delete ready.timer;
                break;
            case Ready::What::packet:
                packets.push_back(ready.user);
                break;
            case Ready::What::nagle_stall:
                ++nagle_stalls;
                break;
        }
    }

    ScriptedBackend* backend_{nullptr};
    std::deque<Posted> posted_;
    PageMemory memory_;
    int finished_{0};
};

}  // namespace iocp::scripted
