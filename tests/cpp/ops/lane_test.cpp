// A lane keeps its operations in posting order, whichever of them leaves it.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "ops/socket.hpp"

namespace iocp {
namespace {

std::vector<const Operation*> forwards(const Lane& lane) {
    std::vector<const Operation*> found;
    for (const Operation* op = lane.head; op != nullptr; op = op->next) {
        found.push_back(op);
    }
    return found;
}

std::vector<const Operation*> backwards(const Lane& lane) {
    std::vector<const Operation*> found;
    for (const Operation* op = lane.tail; op != nullptr; op = op->previous) {
        found.insert(found.begin(), op);
    }
    return found;
}

TEST(Lane, KeepsItsOrderWhateverLeavesIt) {
    std::mt19937 random{7};
    std::array<Operation, 12> operations;
    for (int round = 0; round < 200; ++round) {
        Lane lane;
        std::vector<const Operation*> expected;
        for (Operation& op : operations) {
            op.recycle();
            op.kind = OperationKind::send;
            op.lease.length = 10;
            lane.push(op);
            expected.push_back(&op);
        }
        while (!expected.empty()) {
            EXPECT_EQ(lane.bytes, 10 * expected.size());
            const auto at = static_cast<std::ptrdiff_t>(random() % expected.size());
            auto& leaver = const_cast<Operation&>(*expected[static_cast<std::size_t>(at)]);
            if (&leaver == lane.head) {
                EXPECT_EQ(&lane.pop(), &leaver);
            } else {
                lane.unlink(leaver);
            }
            expected.erase(expected.begin() + at);
            EXPECT_EQ(forwards(lane), expected);
            EXPECT_EQ(backwards(lane), expected);
        }
        EXPECT_TRUE(lane.idle());
        EXPECT_EQ(lane.bytes, 0U);
    }
}

TEST(Lane, KnowsWhatTheRequestCovers) {
    std::array<Operation, 3> operations;
    Lane lane;
    for (Operation& op : operations) {
        lane.push(op);
    }
    EXPECT_FALSE(lane.has_started(operations[0]));
    lane.started = 2;
    EXPECT_TRUE(lane.has_started(operations[0]));
    EXPECT_TRUE(lane.has_started(operations[1]));
    EXPECT_FALSE(lane.has_started(operations[2]));
}

TEST(Lane, CountsWhatIsToEndOnceHoweverOftenItIsAsked) {
    std::array<Operation, 3> operations;
    Lane lane;
    for (Operation& op : operations) {
        lane.push(op);
    }
    lane.note_cancel(operations[1]);
    lane.note_cancel(operations[1]);
    lane.note_cancel(operations[0]);
    EXPECT_EQ(lane.cancels, 2U);
    lane.unlink(operations[1]);
    EXPECT_EQ(lane.cancels, 1U);
    (void)lane.pop();
    EXPECT_EQ(lane.cancels, 0U);
    (void)lane.pop();
    EXPECT_EQ(lane.cancels, 0U);
}

}  // namespace
}  // namespace iocp
