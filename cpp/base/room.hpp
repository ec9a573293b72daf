#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace iocp {

// Makes room for `count` more elements of the vector. Doubles its capacity at least, because
// std::vector::reserve() takes no more than it is asked for: a caller that asks before each element
// would copy all of them each time. Without memory it throws and changes nothing.
template <class T>
void make_room(std::vector<T>& vector, std::size_t count) {
    const std::size_t needed = vector.size() + count;
    if (needed > vector.capacity()) {
        vector.reserve(std::max(needed, 2 * vector.capacity()));
    }
}

}  // namespace iocp
