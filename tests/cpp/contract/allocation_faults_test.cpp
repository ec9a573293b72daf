// Runs connect, accept, echo and close once for each allocation that the library makes, and lets
// that allocation fail. Each run ends with an error or success, and leaves nothing behind.
#include <cstdio>
#include <tuple>

#include "allocations.hpp"
#include "faulted_scenario.hpp"

namespace iocp::contract {
namespace {

// Three kinds of port, whose options decide what happens to an operation for which there is no
// memory.
enum class Manner : std::uint8_t { plain, queueing, shared };
constexpr std::array<const char*, 3> manner_names{"plain", "queueing", "shared"};

// Number of allocations in a row that fail.
constexpr unsigned spell = 7;

class AllocationFaults
    : public ::testing::TestWithParam<std::tuple<std::string, Scenario, Manner>> {
protected:
    static PortOptions options() {
        const Manner manner = std::get<Manner>(GetParam());
        PortOptions options;
        options.backend.world = platform::model(std::get<std::string>(GetParam()));
        options.over_budget = manner == Manner::queueing ? OverBudget::queue : OverBudget::raise;
        options.idle_timeout = 60'000'000'000;
        if (manner == Manner::shared) {
            options.concurrency = 2;
            options.in_order = true;
            options.backend.shared = true;
        }
        return options;
    }

    // Runs the scenario while `length` allocations from the `place`-th on fail. Returns whether any
    // failed. The engine checks that nothing is left.
    static bool run(unsigned place, unsigned length, Came& came) {
        const auto& [backend, scenario, manner] = GetParam();
        const PortOptions with = options();
        allocations::fail(place, length);
        {
            FaultedScenario faulted(scenario);
            Engine engine(backend, with);
            EXPECT_TRUE(engine.usable() || !engine.reason().empty());
            came = engine.usable() ? faulted.run(engine) : Came::refused;
        }
        (void)allocations::all_again();
        if (with.backend.world != nullptr) {
            platform::expect_nothing_left(*with.backend.world);
        }
        return allocations::failed();
    }

    // Runs the scenario with failing allocations at each `stride`-th place, until a run ends before
    // it reaches its place.
    void sweep(unsigned length, unsigned stride) {
        std::array<unsigned, outcomes> table{};
        unsigned points = 0;
        Came came{};
        unsigned place = 1;
        while (run(place, length, came)) {
            ASSERT_FALSE(HasFailure()) << "allocation " << place;
            ++points;
            ++table[static_cast<std::size_t>(came)];
            place += stride;
        }
        EXPECT_EQ(came, Came::success) << "with every allocation untouched";
        EXPECT_GT(points * stride, 20U);
        const auto& [backend, scenario, manner] = GetParam();
        std::printf(
            "no memory, %s, %s, %s, %u in a row: %u points, success %u, error at the call %u, "
            "error completion %u\n",
            backend.c_str(), scenario_names[static_cast<std::size_t>(scenario)],
            manner_names[static_cast<std::size_t>(manner)], length, points, table[0], table[1],
            table[2]);
    }

    void SetUp() override {
        const auto& [backend, scenario, manner] = GetParam();
        Engine engine(backend, options());
        if (!engine.usable()) {
            GTEST_SKIP() << backend << ": " << engine.reason();
        }
        if (scenario == Scenario::direct &&
            !engine.port().backend().capabilities().zero_copy_send) {
            GTEST_SKIP() << backend << " has no direct sends";
        }
    }
};

TEST_P(AllocationFaults, OneThatFailsIsAnErrorOrNone) { sweep(1, 1); }

TEST_P(AllocationFaults, SoAreSeveralInARow) { sweep(spell, 3); }

std::string name_of(const ::testing::TestParamInfo<AllocationFaults::ParamType>& given) {
    const auto& [backend, scenario, manner] = given.param;
    return backend + "_" + scenario_names[static_cast<std::size_t>(scenario)] + "_" +
           manner_names[static_cast<std::size_t>(manner)];
}

std::vector<std::string> all_backends() {
    std::vector<std::string> all = platform::backends();
    const std::vector<std::string> models = platform::models();
    all.insert(all.end(), models.begin(), models.end());
    return all;
}

INSTANTIATE_TEST_SUITE_P(
    Backends, AllocationFaults,
    ::testing::Combine(::testing::ValuesIn(all_backends()),
                       ::testing::Values(Scenario::operations, Scenario::subscriptions,
                                         Scenario::waiting, Scenario::direct, Scenario::timers),
                       ::testing::Values(Manner::plain, Manner::queueing, Manner::shared)),
    name_of);

}  // namespace
}  // namespace iocp::contract
