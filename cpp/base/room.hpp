#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace iocp {

// Makes room for `count` more elements of the vector. A vector that must grow at least doubles its
// capacity. std::vector::reserve() allocates only what it is asked for, so a caller that reserves
// before each element would copy all elements each time. Throws std::bad_alloc without memory, and
// then changes nothing.
template <class T>
void make_room(std::vector<T>& vector, std::size_t count) {
    const std::size_t needed = vector.size() + count;
    if (needed > vector.capacity()) {
        vector.reserve(std::max(needed, 2 * vector.capacity()));
    }
}

}  // namespace iocp
