// Random programs of up to twelve operations on two connected sockets, on every preset, with
// budgets and faults by chance: whatever happens, every promise is kept.
#include <cstdio>
#include <cstdlib>

#include "small_world.hpp"

namespace iocp::small {
namespace {

constexpr unsigned most_steps = 12;
constexpr unsigned programs_of_a_run = 20'000;

// Mostly what moves bytes, and seldom what ends it.
constexpr std::array likely{
    Act::send,      Act::send,      Act::send,    Act::note,    Act::note,       Act::note,
    Act::batch,     Act::batch,     Act::batch,   Act::batch,   Act::subscribe,  Act::subscribe,
    Act::subscribe, Act::subscribe, Act::receive, Act::receive, Act::receive,    Act::cancel,
    Act::cancel,    Act::hurry,     Act::look,    Act::room,    Act::post_block, Act::share_pool,
    Act::shut,      Act::close,     Act::abort};

// Everything of one program follows from its number.
class Draw {
public:
    explicit Draw(std::uint64_t number) : random_(number) {}

    Program program() {
        Program drawn;
        const std::uint64_t steps = 2 + random_.below(most_steps - 1);
        for (std::uint64_t i = 0; i < steps; ++i) {
            Step step{};
            step.gap = static_cast<Gap>(random_.below(gap_names.size()));
            step.act = likely[random_.below(likely.size())];
            step.side = static_cast<unsigned>(random_.below(2));
            drawn.push_back(step);
        }
        return drawn;
    }

    Parameters parameters() {
        constexpr std::array presets{"linux", "windows-2000", "windows-10"};
        Parameters drawn;
        EXPECT_TRUE(sim::preset(presets[random_.below(presets.size())], drawn));
        if (one_in(2)) {
            drawn.send_buffer = one_of({0, 2'000, 8'192});
            drawn.receive_window = one_of({1'460, 6'000, 17'520});
        }
        drawn.nagle = one_of({0, 1});
        drawn.loss = one_of({0, 0, 50'000});
        drawn.reorder = one_of({0, 0, 100'000});
        drawn.jitter = one_of({0, 50'000});
        drawn.short_operations = one_of({0, 300'000});
        drawn.shuffle_wakeups = one_of({0, 1});
        drawn.wake_delay = one_of({0, 0, 100'000});
        drawn.lock_limit = one_of({0, 0, 3});
        drawn.refuse_charge = one_of({0, 0, 1, 2, 5});
        const std::int64_t event = 1 + static_cast<std::int64_t>(random_.below(40));
        constexpr std::array mishaps{&Parameters::reset_event, &Parameters::half_close_event,
                                     &Parameters::stall_event, &Parameters::vanish_event};
        if (one_in(2)) {
            drawn.*mishaps[random_.below(mishaps.size())] = event;
        }
        return drawn;
    }

    PortOptions options() {
        PortOptions drawn;
        drawn.budget_bytes = static_cast<std::size_t>(one_of({0, 0, 4'096, 24'576, 65'536}));
        drawn.over_budget = static_cast<OverBudget>(random_.below(3));
        drawn.port_receives = static_cast<unsigned>(one_of({0, 0, 1}));
        return drawn;
    }

private:
    bool one_in(std::uint32_t count) { return random_.below(count) == 0; }
    std::int64_t one_of(std::initializer_list<std::int64_t> values) {
        return values.begin()[random_.below(static_cast<std::uint32_t>(values.size()))];
    }

    sim::Random random_;
};

// IOCP_SOCK_RANDOM_PROGRAMS: how many, and, behind a colon, the number of the first.
TEST(SimRandomPrograms, EachKeepsEveryPromise) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "one thread, 20,000 programs: nothing for ThreadSanitizer";
#endif
    std::uint64_t programs = programs_of_a_run;
    std::uint64_t first = 1;
    if (const char* asked = std::getenv("IOCP_SOCK_RANDOM_PROGRAMS")) {
        char* end = nullptr;
        programs = std::strtoull(asked, &end, 10);
        first = *end == ':' ? std::strtoull(end + 1, nullptr, 10) : first;
    }
    std::uint64_t number = first;
    std::uint64_t events = 0;
    std::uint64_t bytes = 0;
    for (; number < first + programs; ++number) {
        Draw draw(number);
        const Program program = draw.program();
        const Parameters parameters = draw.parameters();
        SmallWorld world(parameters, draw.options(), number);
        const Outcome outcome = world.run(program);
        events += world.world().stack.counts.events;
        bytes += outcome.received[0].size() + outcome.received[1].size();
        if (HasFailure()) {
            ADD_FAILURE() << "program " << number
                          << " (again: IOCP_SOCK_RANDOM_PROGRAMS=1:" << number
                          << "): " << text_of(program);
            break;
        }
    }
    const auto shown = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf("random programs: %llu from number %llu on, %llu events, %llu bytes received\n",
                shown(number - first), shown(first), shown(events), shown(bytes));
}

}  // namespace
}  // namespace iocp::small
