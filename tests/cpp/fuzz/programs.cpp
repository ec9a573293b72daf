// Runs the random programs of random_program.hpp with choices by libFuzzer, which keeps inputs that
// reach new code.
#include <cstddef>
#include <cstdint>

#include "random_program.hpp"

namespace iocp::small {
namespace {

// Turns libFuzzer's input into choices. Behind the last byte every choice is 0.
class Given {
public:
    Given(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

    std::uint64_t below(std::uint32_t bound) noexcept {
        const bool wide = bound > UINT8_MAX + 1;
        const std::uint64_t given = wide ? byte() * std::uint64_t{256} + byte() : byte();
        return given % bound;
    }

private:
    std::uint8_t byte() noexcept {
        if (left_ == 0) {
            return 0;
        }
        --left_;
        return *data_++;
    }

    const std::uint8_t* data_;
    std::size_t left_;
};

}  // namespace
}  // namespace iocp::small

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    testing::InitGoogleTest(count, *arguments);
    GTEST_FLAG_SET(break_on_failure, true);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    iocp::small::Given given(data, size);
    iocp::small::Draw draw(given);
    const iocp::small::Parameters parameters = draw.parameters();
    const iocp::PortOptions options = draw.options();
    const std::uint64_t seed = given.below(UINT16_MAX);
    iocp::small::SmallWorld world(parameters, options, seed);
    (void)world.run(draw.program());
    return 0;
}
