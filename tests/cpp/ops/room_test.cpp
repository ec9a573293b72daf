// make_room() takes memory for more elements of a vector before they are added.
#include "base/room.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "allocations.hpp"

namespace iocp {
namespace {

TEST(Room, IsThereWhenItIsNeeded) {
    std::vector<int> vector{1, 2, 3};
    make_room(vector, 5);
    allocations::fail(1, 1000);
    allocations::counted([&] { vector.insert(vector.end(), {4, 5, 6, 7, 8}); });
    EXPECT_EQ(allocations::all_again(), 0U);
    EXPECT_EQ(vector.size(), 8U);
}

TEST(Room, ElementsAreNotCopiedForEachOther) {
    constexpr int count = 1000;
    std::vector<int> vector;
    allocations::fail(1'000'000);  // counts the allocations, and fails none of them
    allocations::counted([&] {
        for (int i = 0; i < count; ++i) {
            make_room(vector, 1);
            vector.push_back(i);
        }
    });
    EXPECT_LE(allocations::all_again(), 11U);
}

}  // namespace
}  // namespace iocp
