#pragma once

#include <utility>

// Replaces operator new of this program, so that a test can inject a lack of memory.
namespace iocp::allocations {

// A scope in which the thread's allocations are counted and may be made to fail. A test allocates
// its own objects outside of it, so that only the library's allocations are affected.
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

// Makes the `place`-th counted allocation fail, and the `length - 1` counted ones after it.
void fail(unsigned place, unsigned length = 1) noexcept;
// Lets every allocation succeed again. Returns how many were counted since fail().
unsigned all_again() noexcept;
[[nodiscard]] bool failed() noexcept;

}  // namespace iocp::allocations
