// SlotSet: membership, whatever the order and size of the slot numbers.
#ifdef __linux__
#include "backend/linux/slot_set.hpp"

#include <gtest/gtest.h>

namespace iocp {
namespace {

TEST(SlotSetTest, HoldsWhatWasPutInAndNothingElse) {
    SlotSet set;
    for (const std::uint32_t slot : {0U, 63U, 64U, 1000U}) {
        EXPECT_FALSE(set.contains(slot));
        set.insert(slot);
        EXPECT_TRUE(set.contains(slot));
    }
    EXPECT_FALSE(set.contains(1U));
    EXPECT_FALSE(set.contains(999U));
    set.erase(64U);
    EXPECT_FALSE(set.contains(64U));
    EXPECT_TRUE(set.contains(63U)) << "its neighbour in another word";
    set.erase(1U << 20U);  // larger than any slot that the set has held
    EXPECT_TRUE(set.contains(1000U));
    set.clear();
    EXPECT_FALSE(set.contains(0U));
}

}  // namespace
}  // namespace iocp
#endif
