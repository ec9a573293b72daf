// EntryMemory: every piece stays valid until reuse(), which keeps the blocks.
#ifdef __linux__
#include "backend/linux/entry_memory.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "allocations.hpp"

namespace iocp {
namespace {

constexpr std::size_t third = EntryMemory::block_bytes / 3;

TEST(EntryMemoryTest, PiecesAreApartAndAligned) {
    EntryMemory memory;
    std::vector<std::byte*> pieces;
    for (int i = 0; i < 10; ++i) {
        std::byte* piece = memory.take(third);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(piece) % 16, 0U);
        std::memset(piece, i, third);
        pieces.push_back(piece);
    }
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(pieces[static_cast<std::size_t>(i)][0], std::byte(i));
        EXPECT_EQ(pieces[static_cast<std::size_t>(i)][third - 1], std::byte(i));
    }
}

TEST(EntryMemoryTest, AnOddPieceLeavesTheNextOneAligned) {
    EntryMemory memory;
    const std::byte* one = memory.take(1);
    EXPECT_EQ(memory.take(17) - one, 16);
    EXPECT_EQ(memory.take(1) - one, 48);
}

TEST(EntryMemoryTest, AWholeBlockIsOnePiece) {
    EntryMemory memory;
    std::byte* all = memory.take(EntryMemory::block_bytes);
    std::byte* next = memory.take(1);
    EXPECT_TRUE(next < all || next >= all + EntryMemory::block_bytes);
}

TEST(EntryMemoryTest, UsesItsBlocksAgain) {
    EntryMemory memory;
    std::vector<std::byte*> before;
    for (int i = 0; i < 6; ++i) {
        before.push_back(memory.take(third));
    }
    allocations::fail(1, 1000);
    for (int round = 0; round < 2; ++round) {
        memory.reuse();
        for (std::byte* piece : before) {
            EXPECT_EQ(allocations::counted([&] { return memory.take(third); }), piece);
        }
    }
    allocations::all_again();
}

}  // namespace
}  // namespace iocp
#endif
