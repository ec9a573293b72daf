// The pages that a buffer touches (R06).
#include "base/page_span.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <set>

namespace iocp {
namespace {

constexpr std::size_t page = 4096;

// Counts the touched pages by visiting every byte: slow, but obviously correct.
std::size_t pages_by_bytes(std::uintptr_t address, std::size_t length, std::size_t size) {
    std::set<std::uintptr_t> pages;
    for (std::size_t i = 0; i < length; ++i) {
        pages.insert((address + i) / size);
    }
    return pages.size();
}

TEST(PageSpan, NoBytesTouchNoPage) {
    EXPECT_EQ(page_span(0, 0, page), 0U);
    EXPECT_EQ(page_span(page - 1, 0, page), 0U);
    EXPECT_EQ(page_span(page, 0, page), 0U);
}

TEST(PageSpan, OneByteTouchesOnePage) {
    EXPECT_EQ(page_span(0, 1, page), 1U);
    EXPECT_EQ(page_span(page - 1, 1, page), 1U);
    EXPECT_EQ(page_span(page, 1, page), 1U);
}

TEST(PageSpan, ACrossedBorderCostsOneMore) {
    EXPECT_EQ(page_span(page - 1, 2, page), 2U);
    EXPECT_EQ(page_span(0, page, page), 1U);
    EXPECT_EQ(page_span(0, page + 1, page), 2U);
    EXPECT_EQ(page_span(1, page, page), 2U);
    EXPECT_EQ(page_span(1, page - 1, page), 1U);
}

TEST(PageSpan, TheDocumentsSixBytesAcrossTwoPages) {
    EXPECT_EQ(page_span((10 * page) - 3, 6, page), 2U);
}

TEST(PageSpan, TheLastPageOfTheAddressSpaceDoesNotWrap) {
    const auto last = static_cast<std::uintptr_t>(0) - page;
    EXPECT_EQ(page_span(last, page, page), 1U);
    EXPECT_EQ(page_span(last - 1, page + 1, page), 2U);
    EXPECT_EQ(page_span(0, ~std::size_t{0}, page), (~std::size_t{0} / page) + 1);
}

TEST(PageSpan, FollowsThePageSizeOfTheSystem) {
    EXPECT_EQ(page_span(4096, 16384, 16384), 2U);
    EXPECT_EQ(page_span(4096, 16384, 65536), 1U);
}

TEST(PageSpan, AgreesWithCountingEveryByte) {
    std::mt19937 random(20240607);
    for (int i = 0; i < 3000; ++i) {
        const std::uintptr_t address = random() % 600;
        const std::size_t length = random() % 400;
        const std::size_t size = std::size_t{16} << (random() % 4);
        EXPECT_EQ(page_span(address, length, size), pages_by_bytes(address, length, size))
            << address << " + " << length << " of " << size;
    }
}

static_assert(page_span(0, 1, page) == 1, "usable in constant expressions");

}  // namespace
}  // namespace iocp
