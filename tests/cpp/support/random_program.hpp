#pragma once

#include "small_world.hpp"

// Random programs of up to twelve operations on two connected sockets, on every preset, with
// budgets and faults.
namespace iocp::small {

inline constexpr unsigned max_steps = 12;

// The acts to draw from: mostly operations that move bytes, and seldom those that end a socket.
inline constexpr std::array likely{
    Act::send,      Act::send,      Act::send,    Act::note,    Act::note,       Act::note,
    Act::batch,     Act::batch,     Act::batch,   Act::batch,   Act::subscribe,  Act::subscribe,
    Act::subscribe, Act::subscribe, Act::receive, Act::receive, Act::receive,    Act::cancel,
    Act::cancel,    Act::hurry,     Act::look,    Act::room,    Act::post_block, Act::share_pool,
    Act::shut,      Act::close,     Act::abort};

// Draws a program, the parameters of its model and the options of its port. chance.below(n) returns
// a number from 0 to n - 1.
template <typename Chance>
class Draw {
public:
    explicit Draw(Chance& chance) : chance_(chance) {}

    Program program() {
        Program drawn;
        const std::uint64_t steps = 2 + chance_.below(max_steps - 1);
        for (std::uint64_t i = 0; i < steps; ++i) {
            Step step{};
            step.gap = static_cast<Gap>(chance_.below(gap_names.size()));
            step.act = likely[chance_.below(likely.size())];
            step.side = static_cast<unsigned>(chance_.below(2));
            drawn.push_back(step);
        }
        return drawn;
    }

    Parameters parameters() {
        constexpr std::array presets{"linux", "windows-2000", "windows-10"};
        Parameters drawn;
        EXPECT_TRUE(sim::preset(presets[chance_.below(presets.size())], drawn));
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
        const std::int64_t event = 1 + static_cast<std::int64_t>(chance_.below(40));
        constexpr std::array faults{&Parameters::reset_event, &Parameters::half_close_event,
                                    &Parameters::stall_event, &Parameters::vanish_event};
        if (one_in(2)) {
            drawn.*faults[chance_.below(faults.size())] = event;
        }
        return drawn;
    }

    PortOptions options() {
        PortOptions drawn;
        drawn.budget_bytes = static_cast<std::size_t>(one_of({0, 0, 4'096, 24'576, 65'536}));
        drawn.over_budget = static_cast<OverBudget>(chance_.below(3));
        drawn.caps.port_receives = static_cast<unsigned>(one_of({0, 0, 1}));
        return drawn;
    }

private:
    bool one_in(std::uint32_t count) { return chance_.below(count) == 0; }
    std::int64_t one_of(std::initializer_list<std::int64_t> values) {
        return values.begin()[chance_.below(static_cast<std::uint32_t>(values.size()))];
    }

    Chance& chance_;
};

}  // namespace iocp::small
