// Ledger: the account of locked pages, and its receipts (R06, R07, R09).
#include "ops/ledger.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace iocp {
namespace {

constexpr std::size_t page = 4096;

TEST(Ledger, AReceiptIsTheCharge) {
    Ledger ledger(page, 0);
    std::uint32_t account = 0;
    {
        const Ledger::Receipt receipt = ledger.charge(ChargeKind::receive, 3, account);
        EXPECT_EQ(receipt.pages(), 3U);
        EXPECT_EQ(ledger.now_pages(), 3U);
        EXPECT_EQ(account, 3U);
    }
    EXPECT_EQ(ledger.now_pages(), 0U);
    EXPECT_EQ(account, 0U);
}

TEST(Ledger, ARefundHappensOnce) {
    Ledger ledger(page, 0);
    std::uint32_t account = 0;
    const Ledger::Receipt other = ledger.charge(ChargeKind::send, 1, account);
    {
        Ledger::Receipt receipt = ledger.charge(ChargeKind::send, 2, account);
        receipt.refund();
        EXPECT_EQ(receipt.pages(), 0U);
        EXPECT_EQ(ledger.now_pages(), 1U);
        receipt.refund();
        EXPECT_EQ(ledger.now_pages(), 1U);
    }
    EXPECT_EQ(ledger.now_pages(), 1U);
    EXPECT_EQ(account, 1U);
}

TEST(Ledger, MovingAReceiptMovesTheCharge) {
    Ledger ledger(page, 0);
    std::uint32_t account = 0;
    Ledger::Receipt first = ledger.charge(ChargeKind::receive, 2, account);
    Ledger::Receipt second(std::move(first));
    EXPECT_EQ(first.pages(), 0U);  // NOLINT(bugprone-use-after-move,hicpp-invalid-access-moved)
    EXPECT_EQ(second.pages(), 2U);
    first.refund();
    EXPECT_EQ(ledger.now_pages(), 2U);
    second.refund();
    EXPECT_EQ(ledger.now_pages(), 0U);
}

TEST(Ledger, AssigningOverAReceiptRefundsWhatItHeld) {
    Ledger ledger(page, 0);
    std::uint32_t one = 0;
    std::uint32_t two = 0;
    Ledger::Receipt receipt = ledger.charge(ChargeKind::receive, 5, one);
    receipt = ledger.charge(ChargeKind::send, 1, two);
    EXPECT_EQ(ledger.now_pages(), 1U);
    EXPECT_EQ(ledger.pages_of(ChargeKind::receive), 0U);
    EXPECT_EQ(ledger.pages_of(ChargeKind::send), 1U);
    EXPECT_EQ(one, 0U);
    EXPECT_EQ(two, 1U);
    receipt = Ledger::Receipt();
    EXPECT_EQ(ledger.now_pages(), 0U);
    EXPECT_EQ(two, 0U);
}

TEST(Ledger, AssigningAReceiptToItselfKeepsIt) {
    Ledger ledger(page, 0);
    std::uint32_t account = 0;
    Ledger::Receipt receipt = ledger.charge(ChargeKind::receive, 2, account);
    Ledger::Receipt& same = receipt;
    receipt = std::move(same);
    EXPECT_EQ(receipt.pages(), 2U);
    EXPECT_EQ(ledger.now_pages(), 2U);
}

TEST(Ledger, AChargeOfNothingIsNoCharge) {
    Ledger ledger(page, page);
    std::uint32_t account = 0;
    const Ledger::Receipt receipt = ledger.charge(ChargeKind::receive, 0, account);
    EXPECT_EQ(receipt.pages(), 0U);
    EXPECT_EQ(ledger.now_pages(), 0U);
    EXPECT_EQ(ledger.peak_pages(), 0U);
}

TEST(Ledger, KindsAndAccountsAreApart) {
    Ledger ledger(page, 0);
    std::uint32_t one = 0;
    std::uint32_t two = 0;
    const auto a = ledger.charge(ChargeKind::receive, 1, one);
    const auto b = ledger.charge(ChargeKind::send, 2, one);
    const auto c = ledger.charge(ChargeKind::send, 4, two);
    EXPECT_EQ(ledger.pages_of(ChargeKind::receive), 1U);
    EXPECT_EQ(ledger.pages_of(ChargeKind::send), 6U);
    EXPECT_EQ(one, 3U);
    EXPECT_EQ(two, 4U);
    EXPECT_EQ(ledger.now_pages(), 7U);
}

TEST(Ledger, ThePeakStays) {
    Ledger ledger(page, 0);
    std::uint32_t account = 0;
    auto a = ledger.charge(ChargeKind::receive, 4, account);
    auto b = ledger.charge(ChargeKind::receive, 3, account);
    a.refund();
    auto c = ledger.charge(ChargeKind::receive, 1, account);
    EXPECT_EQ(ledger.now_pages(), 4U);
    EXPECT_EQ(ledger.peak_pages(), 7U);
}

TEST(Ledger, WithoutABudgetEverythingFits) {
    const Ledger ledger(page, 0);
    EXPECT_TRUE(ledger.fits(std::numeric_limits<std::size_t>::max()));
    EXPECT_TRUE(ledger.could_fit(std::numeric_limits<std::size_t>::max()));
}

TEST(Ledger, TheBudgetIsFilledToTheLastPageAndNotFurther) {
    Ledger ledger(page, 4 * page);
    std::uint32_t account = 0;
    EXPECT_TRUE(ledger.fits(4));
    EXPECT_FALSE(ledger.fits(5));
    auto a = ledger.charge(ChargeKind::receive, 3, account);
    EXPECT_TRUE(ledger.fits(1));
    EXPECT_FALSE(ledger.fits(2));
    auto b = ledger.charge(ChargeKind::send, 1, account);
    EXPECT_TRUE(ledger.fits(0));
    EXPECT_FALSE(ledger.fits(1));
    EXPECT_TRUE(ledger.could_fit(4));
    EXPECT_FALSE(ledger.could_fit(5));
    a.refund();
    EXPECT_TRUE(ledger.fits(3));
}

TEST(Ledger, ABudgetOfPartOfAPageFitsWholePagesOnly) {
    const Ledger ledger(page, (2 * page) - 1);
    EXPECT_TRUE(ledger.fits(1));
    EXPECT_FALSE(ledger.fits(2));
    EXPECT_FALSE(Ledger(page, 1).could_fit(1));
}

TEST(Ledger, HugeRequestsDoNotWrapIntoTheBudget) {
    const Ledger ledger(page, 4 * page);
    // Multiplied by the page size, `wraps` is 0 modulo 2^64.
    const std::size_t wraps = (std::numeric_limits<std::size_t>::max() / page) + 1;
    EXPECT_FALSE(ledger.fits(wraps));
    EXPECT_FALSE(ledger.could_fit(wraps));
    EXPECT_FALSE(ledger.fits(std::numeric_limits<std::size_t>::max()));
    const Ledger widest(page, std::numeric_limits<std::size_t>::max());
    EXPECT_FALSE(widest.fits(wraps));
    EXPECT_TRUE(widest.fits(wraps - 1));
}

TEST(Ledger, RegisteredMemoryCountsAgainstTheBudgetOnce) {
    Ledger ledger(page, 4 * page);
    std::uint32_t account = 0;
    ledger.add_registered(2 * page);
    EXPECT_EQ(ledger.registered_bytes(), 2 * page);
    EXPECT_EQ(ledger.now_pages(), 0U);
    EXPECT_TRUE(ledger.fits(2));
    EXPECT_FALSE(ledger.fits(3));
    EXPECT_FALSE(ledger.could_fit(3));
    {
        const auto a = ledger.charge(ChargeKind::receive, 2, account);
        EXPECT_FALSE(ledger.fits(1));
    }
    ledger.add_registered(3 * page);  // more than the budget: no charge fits
    EXPECT_FALSE(ledger.fits(1));
    EXPECT_FALSE(ledger.could_fit(1));
    ledger.remove_registered(5 * page);
    EXPECT_TRUE(ledger.fits(4));
}

TEST(Ledger, EqualsTheSumOfItsReceiptsAfterEveryStep) {
    Ledger ledger(page, 64 * page);
    std::vector<std::uint32_t> accounts(8);
    struct Held {
        Ledger::Receipt receipt;
        std::size_t account;
        ChargeKind kind;
    };
    std::vector<Held> held;
    std::mt19937 random(7);
    std::uint64_t peak = 0;
    for (int step = 0; step < 20000; ++step) {
        const auto pages = static_cast<std::uint32_t>(random() % 9);
        const std::size_t account = random() % accounts.size();
        const auto kind = random() % 2 == 0 ? ChargeKind::receive : ChargeKind::send;
        if (random() % 2 == 0 && ledger.fits(pages)) {
            held.push_back({ledger.charge(kind, pages, accounts[account]), account, kind});
        } else if (!held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            held.pop_back();
        }
        std::uint64_t sum = 0;
        std::uint64_t receives = 0;
        std::vector<std::uint32_t> expected(accounts.size());
        for (const Held& one : held) {
            sum += one.receipt.pages();
            receives += one.kind == ChargeKind::receive ? one.receipt.pages() : 0;
            expected[one.account] += one.receipt.pages();
        }
        peak = std::max(peak, sum);
        ASSERT_EQ(ledger.now_pages(), sum);
        ASSERT_EQ(ledger.pages_of(ChargeKind::receive), receives);
        ASSERT_EQ(ledger.pages_of(ChargeKind::send), sum - receives);
        ASSERT_EQ(ledger.peak_pages(), peak);
        ASSERT_EQ(accounts, expected);
        ASSERT_LE(sum * page, ledger.budget_bytes());
    }
    held.clear();
    EXPECT_EQ(ledger.now_pages(), 0U);
}

}  // namespace
}  // namespace iocp
