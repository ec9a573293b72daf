#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "backend/linux/ring.hpp"

namespace iocp::uring {

// An io_uring of four entries, for tests of the code above it. Skips the test where the system
// refuses io_uring.
class SmallRing : public testing::Test {
protected:
    static constexpr unsigned entries = 4;

    void SetUp() override { open(); }
    void open() {
        std::string reason;
        if (ring_.open(entries, true, reason) != 0) {
            GTEST_SKIP() << reason;
        }
    }
    // Returns an entry that does nothing and completes at once, with this user_data.
    static Sqe no_operation(std::uint64_t name) {
        Sqe entry{};
        entry.user_data = name;
        return entry;
    }
    // Submits the entries in the submission queue. Returns the completions that are there.
    std::vector<Cqe> submitted() {
        const unsigned count = ring_.publish();
        EXPECT_EQ(ring_.enter(count, 0, 0), static_cast<int>(count));
        return completions();
    }
    std::vector<Cqe> completions() {
        std::vector<Cqe> all;
        ring_.each_completion([&](const Cqe& one) {
            all.push_back(one);
            return true;
        });
        return all;
    }

    Ring ring_;
};

}  // namespace iocp::uring
