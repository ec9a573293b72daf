#pragma once

#include <utility>

// Replaces operator new of this program, so that a test can inject a lack of memory.
namespace iocp::allocations {

// A scope in which this thread's allocations count. A test allocates its own objects outside, so
// that only those of the library count and fail.
class Counted {
public:
    Counted() noexcept;
    ~Counted();
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
};

template <class Call>
decltype(auto) counted(Call&& call) {
    const Counted scope;
    return std::forward<Call>(call)();
}

// Makes the `place`-th counted call fail, and the `length - 1` after it.
void fail(unsigned place, unsigned length = 1) noexcept;
// Ends all failures. Returns how many calls were counted.
unsigned all_again() noexcept;
[[nodiscard]] bool failed() noexcept;

}  // namespace iocp::allocations
