#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace iocp::sim {

// Allocates the memory of the modelled machines. A kernel's small allocations wait for memory
// instead of failing half-way through a segment. This allocator waits too, for about a second.
template <class T>
class Patient {
public:
    using value_type = T;

    Patient() noexcept = default;
    template <class Other>
    Patient(const Patient<Other>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] T* allocate(std::size_t count) {
        if (count > std::numeric_limits<std::size_t>::max() / each) {
            throw std::bad_array_new_length();
        }
        const std::size_t bytes = count * each;
        for (unsigned tries = 0;; ++tries) {
            if (void* memory = ::operator new(bytes, std::nothrow)) {
                return static_cast<T*>(memory);
            }
            if (tries == max_tries) {
                throw std::bad_alloc();
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    void deallocate(T* memory, std::size_t /*count*/) noexcept { ::operator delete(memory); }

    friend bool operator==(const Patient& /*one*/, const Patient& /*other*/) noexcept {
        return true;
    }

private:
    static constexpr unsigned max_tries = 1000;
    // NOLINTNEXTLINE(bugprone-sizeof-expression): a deque keeps pointers
    static constexpr std::size_t each = sizeof(T);
};

template <class T>
using Vector = std::vector<T, Patient<T>>;
template <class T>
using Deque = std::deque<T, Patient<T>>;
template <class Key, class T>
using Map = std::map<Key, T, std::less<>, Patient<std::pair<const Key, T>>>;

}  // namespace iocp::sim
