#pragma once

#include <utility>

// Memory that runs out: operator new of this program, where a test may let one call fail.
namespace iocp::allocations {

// While one lives, what this thread allocates counts. Those of the test itself do not.
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

// The `place`-th call that counts fails, and the `length - 1` after it.
void fail(unsigned place, unsigned length = 1) noexcept;
// Nothing fails from here on. Returns how many calls counted.
unsigned all_again() noexcept;
[[nodiscard]] bool failed() noexcept;

}  // namespace iocp::allocations
