// Random programs of up to twelve operations on two connected sockets, on every preset, with random
// budgets and faults. In each, the library keeps all promises that SmallWorld checks.
#include <cstdio>
#include <cstdlib>

#include "random_program.hpp"

namespace iocp::small {
namespace {

constexpr unsigned programs_of_a_run = 20'000;

// The environment variable IOCP_SOCK_RANDOM_PROGRAMS gives the number of programs and, after a
// colon, the number of the first.
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
        sim::Random random(number);  // the number is the seed of the whole program
        Draw draw(random);
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
