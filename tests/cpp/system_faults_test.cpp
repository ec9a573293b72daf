// Making a port on the real Linux backends with each call of the system refused once with each
// error that it may give: a port or a reason, and nothing left behind.
#ifdef __linux__

#include <cstdio>

#include "contract.hpp"
#include "system_calls_linux.hpp"

namespace iocp::contract {
namespace {

using system_calls::Seen;

class SystemFaults : public ::testing::TestWithParam<std::string> {};

TEST_P(SystemFaults, ARefusedCallOfMakingAPortLeavesNothing) {
    unsigned points = 0;
    Seen seen;
    for (unsigned place = 1; place == 1 || seen.refused; ++place) {
        unsigned way = 0;
        do {
            const std::size_t descriptors = platform::open_descriptors();
            system_calls::refuse_one(place, way++);
            {
                const Engine engine(GetParam(), {});
                seen = system_calls::all_again();
                EXPECT_TRUE(engine.usable() || !engine.reason().empty());
            }
            points += seen.refused ? 1 : 0;
            ASSERT_EQ(platform::open_descriptors(), descriptors)
                << "call " << place << ", " << seen.name << ", error " << seen.code;
        } while (seen.more_ways);
        ASSERT_LT(place, 1000U);
    }
    std::printf("system faults of making a port, %s: %u\n", GetParam().c_str(), points);
    EXPECT_GT(points, 5U);
}

INSTANTIATE_TEST_SUITE_P(Backends, SystemFaults, ::testing::ValuesIn(platform::backends()),
                         [](const auto& backend) { return backend.param; });

}  // namespace
}  // namespace iocp::contract

#endif
