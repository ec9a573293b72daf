#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "backend/sim/world.hpp"
#include "contract.hpp"

// A port on a model whose parameters a test chooses, and the model's trace.
namespace iocp::modelled {

using contract::Bytes;
using contract::Engine;
using contract::Op;
using contract::pattern;
using contract::taken;
using contract::text;
using sim::Parameters;
using sim::Step;
using sim::TraceLine;

inline constexpr std::int64_t microsecond = 1000;
inline constexpr std::int64_t millisecond = 1'000'000;
inline constexpr std::int64_t second = 1'000'000'000;

class Model : public ::testing::Test {
protected:
    void TearDown() override {
        engine_.reset();
        if (world_ != nullptr) {
            platform::expect_nothing_left(*world_);
        }
    }

    // Makes a model with the preset's parameters, which `change` may adapt, and a port on it.
    void make(const std::string& preset, const std::function<void(Parameters&)>& change = {},
              std::uint64_t seed = 1, PortOptions options = {}) {
        Parameters parameters;
        ASSERT_TRUE(sim::preset(preset, parameters));
        if (change) {
            change(parameters);
        }
        TearDown();
        world_ = std::make_shared<sim::World>(parameters, seed);
        world_->stack.trace.keep(true);
        options.backend.world = world_;
        engine_ = std::make_unique<Engine>("sim", options);
        ASSERT_TRUE(engine_->usable());
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }
    sim::World& world() { return *world_; }
    const Parameters& values() { return world_->stack.values; }
    const sim::Counts& counts() { return world_->stack.counts; }
    sim::System& system() { return world_->stack.machines().front()->system; }
    [[nodiscard]] std::int64_t now() { return port().now(); }
    [[nodiscard]] std::int64_t round_trip() { return 2 * values().delay; }

    // Returns the trace's lines of one step at one socket since forget().
    std::vector<TraceLine> lines(const Socket& socket, Step step) {
        std::vector<TraceLine> found;
        for (const TraceLine& line : world_->stack.trace.lines()) {
            if (line.step == step && sim::handle_of(line.endpoint) == socket.handle) {
                found.push_back(line);
            }
        }
        return found;
    }
    std::vector<TraceLine> data_sent(const Socket& socket) {
        std::vector<TraceLine> found = lines(socket, Step::sent);
        std::erase_if(found, [](const TraceLine& line) { return line.length == 0; });
        return found;
    }
    static std::vector<std::uint32_t> lengths(const std::vector<TraceLine>& lines) {
        std::vector<std::uint32_t> found;
        for (const TraceLine& line : lines) {
            found.push_back(line.length);
        }
        return found;
    }
    // Returns the minimum time between two successive lines of the trace.
    static std::int64_t closest(const std::vector<TraceLine>& lines) {
        std::int64_t gap = std::numeric_limits<std::int64_t>::max();
        for (std::size_t i = 1; i < lines.size(); ++i) {
            gap = std::min(gap, lines[i].when - lines[i - 1].when);
        }
        return gap;
    }
    void forget() { world_->stack.trace.clear(); }

    // Posts `count` sends of `length` bytes each, which go out as one request.
    std::vector<Op*> send_each(Socket& socket, std::size_t count, std::size_t length) {
        std::vector<Op*> ops;
        for (std::size_t i = 0; i < count; ++i) {
            ops.push_back(&engine().send(socket, pattern(length, i * length), {.batched = true}));
        }
        return ops;
    }
    // Runs until the operations have finished. Returns the virtual time that they took.
    std::int64_t time_of(const std::vector<Op*>& ops) {
        const std::int64_t since = now();
        EXPECT_TRUE(engine().finish_all(ops));
        for (const Op* op : ops) {
            EXPECT_TRUE(op->succeeded()) << op->error.code;
        }
        return now() - since;
    }
    // Subscribes to the socket's data, so that everything that arrives is read.
    Op& reader(Socket& socket) { return engine().subscribe(socket, ReceiveStrategy::zero_byte); }
    // Runs the port for `time` nanoseconds of virtual time.
    void pass(std::int64_t time) {
        const std::int64_t until = now() + time;
        while (now() < until) {
            ASSERT_FALSE(engine().turn(until));
        }
    }
    bool inject_fault(const Socket& socket, sim::InjectedFault fault) {
        const sim::World::Access access(*world_);
        return world_->sockets().inject_fault(*world_->stack.find(socket.handle), fault);
    }

private:
    std::shared_ptr<sim::World> world_;
    std::unique_ptr<Engine> engine_;
};

}  // namespace iocp::modelled
