// ProvidedRegions: the kernel fills the posted regions, and a new region replaces each full one.
#ifdef __linux__
#include "backend/linux/provided_regions.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "base/process.hpp"
#include "small_ring.hpp"
#include "system_calls_linux.hpp"

namespace iocp {
namespace {

class ProvidedRegionsTest : public uring::SmallRing {
protected:
    void SetUp() override {
        SmallRing::SetUp();
        if (IsSkipped()) {
            return;
        }
        regions_.provide();
        if (!regions_.provided()) {
            GTEST_SKIP() << "this kernel has no incremental rings of buffers";
        }
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_.data()), 0);
    }
    void TearDown() override {
        ring_.close();
        regions_.drop();
        slices_.clear();
        EXPECT_EQ(pool_->blocks_out(), 0U);
        pool_->close();
        for (const int end : ends_) {
            (void)::close(end);
        }
    }
    void receive_each() {
        uring::Sqe* entry = ring_.next();
        ASSERT_NE(entry, nullptr);
        entry->opcode = uring::op_recv;
        entry->fd = ends_[0];
        entry->ioprio = uring::recv_multishot;
        entry->flags = uring::sqe_buffer_select;
        entry->buf_group = ProvidedRegions::group;
    }
    void write(const std::string& text) {
        ASSERT_EQ(::write(ends_[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    // Takes the data that has arrived. Returns the result of the last completion.
    int arrived() {
        int last = 0;
        for (const uring::Cqe& one : submitted()) {
            last = one.res;
            if ((one.flags & uring::cqe_f_buffer) != 0 && one.res > 0) {
                const auto slot = static_cast<std::uint16_t>(one.flags >> uring::cqe_buffer_shift);
                slices_.push_back(regions_.take(slot, static_cast<std::size_t>(one.res)));
            }
        }
        return last;
    }
    [[nodiscard]] std::string text() const {
        std::string all;
        for (const Slice& one : slices_) {
            all.append(reinterpret_cast<const char*>(one.data()), one.length());
        }
        return all;
    }

    const std::size_t size_{4 * system_page_size()};
    BufferPool* pool_{BufferPool::create(system_page_size(), size_, 8)};
    ProvidedRegions regions_{ring_, *pool_};
    std::array<int, 2> ends_{-1, -1};
    std::vector<Slice> slices_;
};

TEST_F(ProvidedRegionsTest, MessagesShareARegion) {
    receive_each();
    for (const char* word : {"one", "two"}) {
        write(word);
        EXPECT_EQ(arrived(), 3);
    }
    ASSERT_EQ(slices_.size(), 2U);
    EXPECT_EQ(text(), "onetwo");
    EXPECT_EQ(slices_[0].region(), slices_[1].region());
    EXPECT_EQ(slices_[1].data(), slices_[0].data() + 3);
}

TEST_F(ProvidedRegionsTest, AFullRegionMakesRoomForTheNext) {
    receive_each();
    std::string sent;
    for (char letter = 'a'; letter <= 'z'; ++letter) {  // more than the posted regions hold
        const std::string part(size_ / 3, letter);
        sent += part;
        write(part);
        EXPECT_GT(arrived(), 0);
    }
    EXPECT_EQ(text(), sent);
}

TEST_F(ProvidedRegionsTest, AFullRegionReturnsWithItsLastMessage) {
    const std::size_t before = pool_->blocks_out();
    EXPECT_EQ(before, ProvidedRegions::posted);
    {
        const Slice half = regions_.take(1, size_ / 2);
        const Slice rest = regions_.take(1, size_ - size_ / 2);
        EXPECT_EQ(half.region(), rest.region());
        EXPECT_EQ(pool_->blocks_out(), before + 1) << "the region that replaces it";
    }
    EXPECT_EQ(pool_->blocks_out(), before);
}

TEST_F(ProvidedRegionsTest, ARegionWithoutMemoryIsPostedLater) {
    ring_.close();
    regions_.drop();
    open();
    std::vector<Region*> taken;  // all free blocks, so that the pool must allocate
    while (pool_->occupancy().blocks != pool_->blocks_out() || taken.empty()) {
        taken.push_back(pool_->take_region());
    }
    allocations::fail(2, 1000);  // all but the first allocation, the buffer ring's page
    allocations::counted([&] { regions_.provide(); });
    allocations::all_again();
    ASSERT_TRUE(regions_.provided());
    EXPECT_EQ(pool_->blocks_out(), taken.size());
    write("word");
    receive_each();
    EXPECT_EQ(arrived(), -ENOBUFS);
    regions_.post_missing();
    regions_.post_missing();  // the second call finds none missing
    EXPECT_EQ(pool_->blocks_out(), taken.size() + ProvidedRegions::posted);
    receive_each();
    EXPECT_EQ(arrived(), 4);
    EXPECT_EQ(text(), "word");
    for (Region* one : taken) {
        one->drop_reference();
    }
}

// The kernel returns the lockable memory of a closed ring late, so a new ring may find too little.
TEST_F(ProvidedRegionsTest, ANewRingWaitsForTheMemoryOfTheOldOne) {
    ring_.close();
    regions_.drop();
    open();
    constexpr unsigned no_memory = 0;  // the index of ENOMEM among its errors
    system_calls::refuse_one(1, no_memory);
    regions_.provide();
    EXPECT_FALSE(regions_.provided());
    system_calls::refuse_one(1, no_memory);
    regions_.provide_in_time();
    EXPECT_TRUE(system_calls::all_again().refused);
    ASSERT_TRUE(regions_.provided());
    regions_.provide_in_time();  // changes nothing once the regions are provided
    receive_each();
    write("new");
    EXPECT_EQ(arrived(), 3);
    EXPECT_EQ(text(), "new");
}

TEST_F(ProvidedRegionsTest, ANewRingGetsNewRegions) {
    receive_each();
    write("old");
    EXPECT_EQ(arrived(), 3);
    ring_.close();
    regions_.drop();
    EXPECT_EQ(pool_->blocks_out(), 1U) << "the region of the received message";
    EXPECT_FALSE(regions_.provided());
    open();
    regions_.provide();
    receive_each();
    write("new");
    EXPECT_EQ(arrived(), 3);
    EXPECT_EQ(text(), "oldnew");
}

}  // namespace
}  // namespace iocp
#endif
