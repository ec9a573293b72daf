#include <gtest/gtest.h>

#include <limits>

#include "backend/sim/world.hpp"
#include "platform.hpp"

namespace iocp::platform {

std::vector<std::string> models() { return {"sim_linux", "sim_windows_10", "sim_windows_2000"}; }

// Adapts the preset to the contract suite. The wire has no delay, because the tests check for their
// results at once. A wait sleeps if nothing is due, instead of failing, because some tests post
// from other threads. Nagle's algorithm is off, because it holds each segment of a locked send for
// 200 ms. A send buffer does not take one more send of any size, as AFD's does, because some sends
// must not be copied.
std::shared_ptr<sim::World> model(const std::string& name) {
    std::string preset = name.substr(0, 4) == "sim_" ? name.substr(4) : "";
    for (char& character : preset) {
        character = character == '_' ? '-' : character;
    }
    sim::Parameters parameters;
    if (!sim::preset(preset, parameters)) {
        return nullptr;
    }
    parameters.delay = 0;
    parameters.threads = 1;
    parameters.nagle = 0;
    parameters.one_more_send = 0;
    return std::make_shared<sim::World>(parameters, 1);
}

bool socket_pair(sim::World& world, Handle& one, Handle& other) {
    const sim::World::Access access(world);
    return world.sockets().pair(*world.stack.machines().front(), one, other);
}

void expect_nothing_left(sim::World& world) {
    const sim::World::Access access(world);
    while (world.step(std::numeric_limits<std::int64_t>::max())) {
    }
    const auto& endpoints = world.stack.endpoints;
    EXPECT_EQ(endpoints.free(), endpoints.capacity());
    for (const auto& machine : world.stack.machines()) {
        EXPECT_EQ(machine->system.locked(), 0);
        EXPECT_EQ(machine->system.pool(), 0);
    }
}

}  // namespace iocp::platform
