// The buffer pool, its regions, and the slices that share them.
#include "ops/buffer.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace iocp {
namespace {

constexpr std::size_t page = 4096;

class BufferPoolTest : public ::testing::Test {
protected:
    void SetUp() override { pool_ = BufferPool::create(page, 16 * page, 4); }
    void TearDown() override {
        if (pool_ != nullptr) {
            EXPECT_EQ(pool_->blocks_out(), 0U);
            pool_->close();
        }
    }
    BufferPool& pool() { return *pool_; }
    void close_pool() { std::exchange(pool_, nullptr)->close(); }

private:
    BufferPool* pool_{nullptr};
};

TEST_F(BufferPoolTest, BlocksArePageAlignedPowersOfTwo) {
    const std::pair<std::size_t, std::size_t> cases[] = {{0, page},
                                                         {1, page},
                                                         {page, page},
                                                         {page + 1, 2 * page},
                                                         {3 * page, 4 * page},
                                                         {5 * page, 8 * page},
                                                         {300 * page, 512 * page}};
    for (const auto& [length, expected] : cases) {
        Region* region = pool().take(length);
        ASSERT_NE(region, nullptr) << length;
        EXPECT_EQ(region->size(), expected) << length;
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region->data()) % page, 0U);
        std::memset(region->data(), 0x5a, region->size());
        region->drop_reference();
    }
}

TEST_F(BufferPoolTest, BlocksThatAreOutDoNotOverlap) {
    std::vector<Region*> regions;
    std::set<std::byte*> starts;
    for (int i = 0; i < 200; ++i) {
        regions.push_back(pool().take(1));
        ASSERT_NE(regions.back(), nullptr);
        EXPECT_TRUE(starts.insert(regions.back()->data()).second);
        std::memset(regions.back()->data(), i, page);
    }
    EXPECT_EQ(pool().blocks_out(), 200U);
    for (int i = 0; i < 200; ++i) {
        Region* region = regions[static_cast<std::size_t>(i)];
        EXPECT_EQ(region->data()[0], static_cast<std::byte>(i));
        EXPECT_EQ(region->data()[page - 1], static_cast<std::byte>(i));
        region->drop_reference();
    }
}

TEST_F(BufferPoolTest, ABlockThatCameBackIsUsedAgain) {
    Region* first = pool().take(1);
    first->drop_reference();
    Region* second = pool().take(1);
    EXPECT_EQ(first, second);
    second->drop_reference();
}

TEST_F(BufferPoolTest, TheLastReferenceGivesTheBlockBack) {
    Region* region = pool().take(1);
    EXPECT_TRUE(region->exclusive());
    region->add_reference();
    EXPECT_FALSE(region->exclusive());
    region->drop_reference();
    EXPECT_TRUE(region->exclusive());
    EXPECT_EQ(pool().blocks_out(), 1U);
    region->drop_reference();
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(BufferPoolTest, MoreThanTheLargestClassIsRefused) {
    EXPECT_EQ(pool().take(~std::size_t{0}), nullptr);
    EXPECT_EQ(pool().take(std::size_t{1} << 50U), nullptr);
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(BufferPoolTest, RegionsHaveTheSizeAskedFor) {
    EXPECT_EQ(pool().region_size(), 16 * page);
    Region* region = pool().take_region();
    EXPECT_EQ(region->size(), 16 * page);
    region->drop_reference();
}

TEST(BufferPoolSizes, RegionSizesAreRoundedUp) {
    BufferPool* small = BufferPool::create(page, 1, 1);
    EXPECT_EQ(small->region_size(), page);
    small->close();
    BufferPool* odd = BufferPool::create(page, (3 * page) + 1, 1);
    EXPECT_EQ(odd->region_size(), 4 * page);
    odd->close();
}

TEST_F(BufferPoolTest, HoardingStartsAtTheLimitOfRegionsAndEndsBelowIt) {
    std::vector<Region*> regions;
    for (int i = 0; i < 3; ++i) {
        regions.push_back(pool().take_region());
        EXPECT_FALSE(pool().hoarded());
    }
    regions.push_back(pool().take_region());
    EXPECT_TRUE(pool().hoarded());
    regions.back()->drop_reference();
    regions.pop_back();
    EXPECT_FALSE(pool().hoarded());
    for (Region* region : regions) {
        region->drop_reference();
    }
}

TEST_F(BufferPoolTest, SmallBlocksAreNoHoard) {
    std::vector<Region*> blocks;
    for (int i = 0; i < 20; ++i) {
        blocks.push_back(pool().take(1));
    }
    EXPECT_FALSE(pool().hoarded());
    for (Region* block : blocks) {
        block->drop_reference();
    }
}

TEST_F(BufferPoolTest, ACopyPinsNothingOfThePool) {
    const std::string text = "thirteen pence";
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    Slice copy = BufferPool::copy(bytes, text.size());
    ASSERT_NE(copy.region(), nullptr);
    EXPECT_EQ(copy.length(), text.size());
    EXPECT_EQ(std::memcmp(copy.data(), text.data(), text.size()), 0);
    EXPECT_NE(copy.data(), bytes);
    EXPECT_EQ(pool().blocks_out(), 0U);
    Slice empty = BufferPool::copy(bytes, 0);
    EXPECT_NE(empty.region(), nullptr);
    EXPECT_EQ(empty.length(), 0U);
}

TEST_F(BufferPoolTest, ABlockOutlivesThePoolsClose) {
    Region* region = pool().take(1);
    Region* other = pool().take(1);
    close_pool();
    std::memset(region->data(), 1, page);
    other->drop_reference();
    std::memset(region->data(), 2, page);
    EXPECT_EQ(region->data()[page - 1], std::byte{2});
    region->drop_reference();
}

TEST_F(BufferPoolTest, ASliceKeepsItsRegion) {
    Region* region = pool().take_region();
    Slice first = Slice::share(*region, region->data(), 10);
    Slice second = Slice::share(*region, region->data() + 10, 20);
    region->drop_reference();
    EXPECT_EQ(pool().blocks_out(), 1U);
    first.reset();
    EXPECT_EQ(first.region(), nullptr);
    EXPECT_EQ(first.length(), 0U);
    EXPECT_EQ(pool().blocks_out(), 1U);
    second.reset();
    EXPECT_EQ(pool().blocks_out(), 0U);
    second.reset();
    EXPECT_EQ(pool().blocks_out(), 0U);
}

TEST_F(BufferPoolTest, AMovedSliceIsHeldOnce) {
    Region* region = pool().take(1);
    Slice first(region, region->data(), 5);
    Slice second(std::move(first));
    EXPECT_EQ(first.region(), nullptr);  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(second.region(), region);
    EXPECT_TRUE(region->exclusive());
    Region* another = pool().take(1);
    Slice third(another, another->data(), 1);
    third = std::move(second);
    EXPECT_EQ(pool().blocks_out(), 1U) << "assigning lets go of what was held";
    EXPECT_EQ(third.length(), 5U);
    Slice& same = third;
    third = std::move(same);
    EXPECT_EQ(third.region(), region);
}

TEST_F(BufferPoolTest, AReleasedSliceHandsItsReferenceOver) {
    Region* region = pool().take(1);
    Slice slice(region, region->data(), 5);
    Region* mine = slice.release();
    EXPECT_EQ(mine, region);
    slice.reset();
    EXPECT_EQ(pool().blocks_out(), 1U);
    mine->drop_reference();
}

TEST_F(BufferPoolTest, ALeaseIsGivenBackOnce) {
    int released = 0;
    Lease lease{nullptr, 4, &released, [](void* owner) { ++*static_cast<int*>(owner); }};
    lease.give_back();
    lease.give_back();
    EXPECT_EQ(released, 1);
    EXPECT_EQ(lease.length, 0U);
    Lease nobodys;
    nobodys.give_back();
}

TEST_F(BufferPoolTest, BlocksComeBackFromManyThreads) {
    constexpr int threads = 8;
    constexpr int rounds = 2000;
    std::atomic<int> torn{0};
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (int worker = 0; worker < threads; ++worker) {
        workers.emplace_back([&, worker] {
            std::mt19937 random(static_cast<unsigned>(worker));
            std::vector<Slice> held;
            for (int i = 0; i < rounds; ++i) {
                Region* region = pool().take((random() % 4) * page);
                std::memset(region->data(), worker, 64);
                held.push_back(Slice::share(*region, region->data(), 64));
                region->drop_reference();
                if (held.size() > 8) {
                    const std::size_t at = random() % held.size();
                    for (std::size_t k = 0; k < 64; ++k) {
                        torn += held[at].data()[k] == static_cast<std::byte>(worker) ? 0 : 1;
                    }
                    std::swap(held[at], held.back());
                    held.pop_back();
                }
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    EXPECT_EQ(torn, 0);
}

TEST_F(BufferPoolTest, OneRegionIsLetGoByManyThreadsAfterThePoolClosed) {
    for (int round = 0; round < 50; ++round) {
        BufferPool* shared = BufferPool::create(page, page, 1);
        Region* region = shared->take_region();
        std::vector<Slice> slices;
        slices.reserve(8);
        for (std::size_t i = 0; i < 8; ++i) {
            slices.push_back(Slice::share(*region, region->data() + i, 1));
        }
        region->drop_reference();
        std::vector<std::thread> workers;
        workers.reserve(slices.size());
        for (Slice& slice : slices) {
            workers.emplace_back([mine = std::move(slice)]() mutable {
                *mine.data() = std::byte{1};
                mine.reset();
            });
        }
        shared->close();
        for (std::thread& worker : workers) {
            worker.join();
        }
    }
}

}  // namespace
}  // namespace iocp
