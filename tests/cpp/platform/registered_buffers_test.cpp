// RegisteredBuffers keeps the same table as the kernel, even after a new ring replaced the first.
#ifdef __linux__
#include "backend/linux/registered_buffers.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/process.hpp"
#include "page_memory.hpp"
#include "small_ring.hpp"
#include "system_calls_linux.hpp"

namespace iocp {
namespace {

constexpr std::uint8_t op_write_fixed = 5;

class RegisteredBuffersTest : public uring::SmallRing {
protected:
    void SetUp() override {
        SmallRing::SetUp();
        ASSERT_EQ(::pipe(pipe_.data()), 0);
    }
    void TearDown() override {
        for (const int end : pipe_) {
            (void)::close(end);
        }
    }
    // Writes four bytes from the registered memory to a pipe. Returns the kernel's result.
    int write_from(const std::byte* data) {
        uring::Sqe* entry = ring_.next();
        entry->opcode = op_write_fixed;
        entry->fd = pipe_[1];
        entry->off = ~std::uint64_t{0};
        entry->addr = reinterpret_cast<std::uint64_t>(data);
        entry->len = 4;
        entry->buf_group = static_cast<std::uint16_t>(registered_.index_of(data, 4));
        const std::vector<uring::Cqe> got = submitted();
        return got.size() == 1 ? got[0].res : -1;
    }

    const std::size_t page_{system_page_size()};
    scripted::PageMemory memory_;
    RegisteredBuffers registered_{ring_};
    std::array<int, 2> pipe_{-1, -1};
};

TEST_F(RegisteredBuffersTest, FindsTheMemoryThatContainsAPart) {
    std::byte* one = memory_.take(2 * page_);
    std::byte* other = memory_.take(page_);
    EXPECT_EQ(registered_.index_of(one, 1), -1);
    ASSERT_FALSE(registered_.add(one, 2 * page_));
    ASSERT_FALSE(registered_.add(other, page_));
    EXPECT_EQ(registered_.index_of(one, 2 * page_), 0);
    EXPECT_EQ(registered_.index_of(one + page_, page_), 0);
    EXPECT_EQ(registered_.index_of(one + page_, page_ + 1), -1) << "beyond its end";
    EXPECT_EQ(registered_.index_of(other, page_), 1);
}

TEST_F(RegisteredBuffersTest, TheKernelHasTheMemoryAtThisIndex) {
    std::byte* one = memory_.take(page_);
    std::byte* other = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    ASSERT_FALSE(registered_.add(other, page_));
    EXPECT_EQ(write_from(other + page_ - 4), 4);
    EXPECT_EQ(write_from(one), 4);
}

TEST_F(RegisteredBuffersTest, ARemovedPieceMakesRoom) {
    std::byte* one = memory_.take(page_);
    std::byte* other = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    EXPECT_TRUE(registered_.remove(one));
    EXPECT_EQ(registered_.index_of(one, 1), -1);
    EXPECT_TRUE(registered_.remove(one)) << "memory that is not registered counts as released";
    ASSERT_FALSE(registered_.add(other, page_));
    EXPECT_EQ(registered_.index_of(other, 1), 0);
    EXPECT_EQ(write_from(other), 4);
}

TEST_F(RegisteredBuffersTest, HasALimit) {
    std::byte* all = memory_.take(page_);
    for (std::size_t i = 0; i < RegisteredBuffers::max; ++i) {
        ASSERT_FALSE(registered_.add(all + 8 * i, 8));
    }
    EXPECT_EQ(registered_.add(all + 8 * RegisteredBuffers::max, 8).fault, Fault::argument);
    EXPECT_TRUE(registered_.remove(all + 8));
    EXPECT_FALSE(registered_.add(all + 8 * RegisteredBuffers::max, 8));
    EXPECT_EQ(registered_.index_of(all + 8 * RegisteredBuffers::max, 8), 1);
}

TEST_F(RegisteredBuffersTest, ARefusedPieceIsNotRegistered) {
    std::byte* one = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    auto* nowhere = reinterpret_cast<std::byte*>(page_);  // an address where no memory is mapped
    EXPECT_EQ(registered_.add(nowhere, page_).fault, Fault::system);
    EXPECT_EQ(registered_.index_of(nowhere, 1), -1);
    std::byte* other = memory_.take(page_);
    ASSERT_FALSE(registered_.add(other, page_));
    EXPECT_EQ(registered_.index_of(other, 1), 1);
}

TEST_F(RegisteredBuffersTest, APieceThatTheKernelKeepsStaysRegistered) {
    std::byte* one = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    system_calls::refuse_one(1, 0);
    EXPECT_FALSE(registered_.remove(one));
    EXPECT_TRUE(system_calls::all_again().refused);
    EXPECT_EQ(registered_.index_of(one, page_), 0);
}

TEST_F(RegisteredBuffersTest, WithoutARingNothingIsRegistered) {
    std::byte* one = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    ring_.close();
    const Error refused = registered_.add(memory_.take(page_), page_);
    EXPECT_EQ(refused.fault, Fault::resource);
    EXPECT_EQ(refused.code, ENOMEM);
    EXPECT_NE(refused.text, nullptr) << "it says what to do";
    EXPECT_TRUE(registered_.remove(one)) << "the ring has released it";
    EXPECT_EQ(registered_.index_of(one, 1), -1);
    EXPECT_TRUE(registered_.restore()) << "nothing is left to register";
    open();
    ASSERT_FALSE(registered_.add(one, page_)) << "the new ring gets a table";
    EXPECT_EQ(write_from(one), 4);
}

TEST_F(RegisteredBuffersTest, ANewRingGetsTheMemoryAgain) {
    std::byte* one = memory_.take(page_);
    std::byte* other = memory_.take(page_);
    std::byte* third = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    ASSERT_FALSE(registered_.add(other, page_));
    ASSERT_FALSE(registered_.add(third, page_));
    ASSERT_TRUE(registered_.remove(other));
    ring_.close();
    EXPECT_FALSE(registered_.restore()) << "no ring is open";
    open();
    ASSERT_TRUE(registered_.restore());
    EXPECT_EQ(write_from(third), 4);
    EXPECT_EQ(write_from(one), 4);
    ASSERT_FALSE(registered_.add(other, page_));
    EXPECT_EQ(write_from(other), 4);
}

// The kernel returns the lockable memory of a closed ring late. So the test refuses one
// registration for each new ring: that of the table, and then that of each piece.
TEST_F(RegisteredBuffersTest, ANewRingWaitsForTheMemoryOfTheOldOne) {
    std::byte* one = memory_.take(page_);
    std::byte* other = memory_.take(page_);
    ASSERT_FALSE(registered_.add(one, page_));
    ASSERT_FALSE(registered_.add(other, page_));
    constexpr unsigned no_memory = 0;  // the index of ENOMEM among its errors
    for (const unsigned call : {1U, 2U, 3U}) {
        ring_.close();
        open();
        system_calls::refuse_one(call, no_memory);
        EXPECT_TRUE(registered_.restore());
        EXPECT_TRUE(system_calls::all_again().refused);
        EXPECT_EQ(write_from(one), 4);
        EXPECT_EQ(write_from(other), 4);
    }
}

TEST_F(RegisteredBuffersTest, ARefusalThatStaysEndsTheWait) {
    ASSERT_FALSE(registered_.add(memory_.take(page_), page_));
    ring_.close();
    open();
    system_calls::refuse_every("io_uring_register", 0);
    EXPECT_FALSE(registered_.restore());
    EXPECT_GT(system_calls::all_again().calls, 1U);
}

TEST_F(RegisteredBuffersTest, ANewRingHasNoTableWithoutMemory) {
    ring_.close();
    EXPECT_TRUE(registered_.restore());
}

}  // namespace
}  // namespace iocp
#endif
