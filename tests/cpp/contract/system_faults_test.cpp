// Runs connect, accept, echo and close on the Linux backends, once for each system call and each
// error that it can fail with. Each run ends with an error or success, and leaves nothing behind.
#ifdef __linux__

#include <cstdio>
#include <map>
#include <tuple>

#include "faulted_scenario.hpp"
#include "system_calls_linux.hpp"

namespace iocp::contract {
namespace {

using system_calls::Seen;
using Outcomes = std::array<unsigned, outcomes>;

class SystemFaults
    : public ::testing::TestWithParam<std::tuple<std::string, Scenario, OverBudget>> {
protected:
    // Runs the scenario while the `place`-th system call fails with the `way`-th of its errors. The
    // engine checks that nothing is left.
    static Seen run(unsigned place, unsigned way, Came& came) {
        const auto& [backend, scenario, over_budget] = GetParam();
        const std::size_t descriptors = platform::open_descriptors();
        system_calls::refuse_one(place, way);
        {
            PortOptions options;
            options.over_budget = over_budget;
            FaultedScenario faulted(scenario);
            Engine engine(backend, options);
            EXPECT_TRUE(engine.usable() || !engine.reason().empty());
            came = engine.usable() ? faulted.run(engine) : Came::refused;
        }
        const Seen seen = system_calls::all_again();
        EXPECT_EQ(platform::open_descriptors(), descriptors);
        return seen;
    }

    static void print(unsigned points, const std::map<std::string, Outcomes>& table) {
        const auto& [backend, scenario, over_budget] = GetParam();
        std::printf("system faults, %s, %s, over_budget '%s': %u fault points\n", backend.c_str(),
                    scenario_names[static_cast<std::size_t>(scenario)],
                    over_budget == OverBudget::queue ? "queue" : "raise", points);
        for (const auto& [name, count] : table) {
            std::printf("  %-20s success %4u, error at the call %4u, error completion %4u\n",
                        name.c_str(), count[0], count[1], count[2]);
        }
    }
};

TEST_P(SystemFaults, ARefusedCallIsAnErrorOrNone) {
    {
        const auto& [backend, scenario, over_budget] = GetParam();
        Engine engine(backend, {});
        if (!engine.usable()) {
            GTEST_SKIP() << backend << ": " << engine.reason();
        }
        if (scenario == Scenario::direct &&
            !engine.port().backend().capabilities().zero_copy_send) {
            GTEST_SKIP() << backend << " has no direct sends";
        }
    }
    Came came{};
    std::map<std::string, Outcomes> table;
    unsigned points = 0;
    bool reached = true;
    for (unsigned place = 1; reached; ++place) {
        bool more_ways = true;
        for (unsigned way = 0; more_ways; ++way) {
            const Seen seen = run(place, way, came);
            ASSERT_FALSE(HasFailure())
                << "call " << place << ", " << seen.name << ", error " << seen.code;
            reached = seen.calls >= place;
            more_ways = seen.more_ways;
            if (seen.refused) {
                ++points;
                ++table[seen.name][static_cast<std::size_t>(came)];
            }
        }
    }
    EXPECT_EQ(came, Came::success) << "with every call untouched";
    EXPECT_GT(points, 100U);
    print(points, table);
}

std::string name_of(const ::testing::TestParamInfo<SystemFaults::ParamType>& given) {
    const auto& [backend, scenario, over_budget] = given.param;
    return backend + "_" + scenario_names[static_cast<std::size_t>(scenario)] +
           (over_budget == OverBudget::queue ? "_queue" : "_raise");
}

// With the policy `queue` a run spends most of its time in pauses of the core, so two scenarios are
// enough.
std::vector<SystemFaults::ParamType> cases() {
    std::vector<SystemFaults::ParamType> all;
    for (const std::string& backend : platform::backends()) {
        for (const Scenario scenario :
             {Scenario::operations, Scenario::subscriptions, Scenario::waiting, Scenario::direct}) {
            all.emplace_back(backend, scenario, OverBudget::raise);
        }
        for (const Scenario scenario : {Scenario::operations, Scenario::subscriptions}) {
            all.emplace_back(backend, scenario, OverBudget::queue);
        }
    }
    return all;
}

INSTANTIATE_TEST_SUITE_P(Backends, SystemFaults, ::testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace iocp::contract

#endif
