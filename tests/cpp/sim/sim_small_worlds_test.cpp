// All programs of three operations on two connected sockets, each with one fault at every possible
// place. In each, the library keeps all promises that SmallWorld checks.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "small_world.hpp"

namespace iocp::small {
namespace {

// A kind of fault: the parameter that sets its place, and the number of such places that a run has
// passed.
struct Place {
    const char* name;
    std::int64_t Parameters::*number;
    std::int64_t (*passed)(const sim::World& world);
};

std::int64_t charges(const sim::World& world) {
    return world.stack.machines().front()->system.charges();
}
std::int64_t segments(const sim::World& world) {
    return static_cast<std::int64_t>(world.stack.counts.segments);
}
std::int64_t calls(const sim::World& world) {
    return static_cast<std::int64_t>(world.stack.counts.divisible_calls);
}
std::int64_t events(const sim::World& world) {
    return static_cast<std::int64_t>(world.stack.counts.events);
}

constexpr std::array<Place, 8> places{{
    {"refused charge", &Parameters::refuse_charge, charges},
    {"lost segment", &Parameters::lose_segment, segments},
    {"late segment", &Parameters::late_segment, segments},
    {"short operation", &Parameters::shorten_operation, calls},
    {"reset", &Parameters::reset_event, events},
    {"half-close", &Parameters::half_close_event, events},
    {"stalled reader", &Parameters::stall_event, events},
    {"vanished peer", &Parameters::vanish_event, events},
}};

// Visits every program. The first operation is on socket 0, because the sockets are alike. The same
// gap precedes the second and the third operation.
template <class Visit>
void each_program(const std::vector<Act>& acts, const std::vector<Gap>& gaps, Visit&& visit) {
    const auto step = [&](Gap gap, std::size_t choice) {
        return Step{gap, acts[choice / 2], static_cast<unsigned>(choice % 2)};
    };
    for (const Gap gap : gaps) {
        for (const Act first : acts) {
            for (std::size_t second = 0; second < 2 * acts.size(); ++second) {
                for (std::size_t third = 0; third < 2 * acts.size(); ++third) {
                    visit({{Gap::none, first, 0}, step(gap, second), step(gap, third)});
                }
            }
        }
    }
}

// Returns whether the loss of a segment leaves the program's outcome unchanged, because no
// operation depends on the progress of another.
bool heals(const Program& program) {
    return std::none_of(program.begin(), program.end(), [](const Step& step) {
        return step.gap != Gap::none || step.act == Act::close || step.act == Act::abort ||
               step.act == Act::cancel;
    });
}

class SmallWorlds : public ::testing::TestWithParam<const char*> {
protected:
    // Returns whether every promise held. The first failing program is reported, and no program
    // runs after it.
    bool try_every_place(const Program& program) {
        Parameters parameters;
        EXPECT_TRUE(sim::preset(GetParam(), parameters));
        parameters.send_buffer = 2000;
        parameters.receive_window = 6000;
        const Outcome untouched = SmallWorld(parameters).run(program);
        ++runs_;
        for (const Place& fault : places) {
            for (std::int64_t place = 1;; ++place) {
                Parameters faulty = parameters;
                faulty.*fault.number = place;
                SmallWorld world(faulty);
                const Outcome outcome = world.run(program);
                ++runs_;
                if (fault.number == &Parameters::lose_segment && heals(program)) {
                    EXPECT_TRUE(outcome == untouched) << "the loss was not made good";
                }
                if (HasFailure()) {
                    ADD_FAILURE() << text_of(program) << fault.name << " at place " << place;
                    return false;
                }
                if (fault.passed(world.world()) < place) {
                    break;
                }
            }
        }
        return true;
    }
    [[nodiscard]] std::size_t runs() const { return runs_; }

private:
    std::size_t runs_{0};
};

// With the environment variable IOCP_SOCK_SMALL_WORLDS set, programs have three more operations and
// one more gap to choose from, which takes a minute.
TEST_P(SmallWorlds, EveryProgramWithAFaultAtEveryPlaceKeepsEveryPromise) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "one thread, 200,000 runs: nothing for ThreadSanitizer";
#endif
    std::vector<Act> acts{Act::send, Act::receive, Act::subscribe,
                          Act::shut, Act::close,   Act::cancel};
    std::vector<Gap> gaps{Gap::none, Gap::calm};
    if (std::getenv("IOCP_SOCK_SMALL_WORLDS") != nullptr) {
        acts.insert(acts.end(), {Act::look, Act::abort, Act::note});
        gaps.push_back(Gap::hop);
    }
    std::size_t programs = 0;
    bool held = true;
    each_program(acts, gaps, [&](const Program& program) {
        held = held && try_every_place(program);
        programs += held ? 1 : 0;
    });
    std::printf("small worlds, %s: %zu programs, %zu runs\n", GetParam(), programs, runs());
    RecordProperty("runs", static_cast<int>(runs()));
}

INSTANTIATE_TEST_SUITE_P(Presets, SmallWorlds, ::testing::Values("linux", "windows-2000"),
                         [](const auto& preset) {
                             return std::string(preset.param) == "linux" ? "Linux" : "Windows2000";
                         });

}  // namespace
}  // namespace iocp::small
