// SlotTable: ids (slot and generation), none of which is used again while a late event may have it.
#include "base/slot_table.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <unordered_set>
#include <vector>

namespace iocp {
namespace {

struct Item {
    SlotId id;
    int value{0};
    int recycled{0};
    void recycle() {
        value = 0;
        ++recycled;
    }
};

using Table = SlotTable<Item>;

TEST(SlotTable, ATakenItemIsFoundByItsName) {
    Table table;
    Item& item = table.take();
    item.value = 7;
    ASSERT_EQ(table.find(item.id), &item);
    EXPECT_EQ(table.used(), 1U);
    table.give_back(item);
    EXPECT_EQ(table.used(), 0U);
    EXPECT_EQ(table.free(), table.capacity());
}

TEST(SlotTable, AnOldNameFindsNothingOnceTheSlotIsGivenBack) {
    Table table;
    Item& item = table.take();
    const SlotId old = item.id;
    table.give_back(item);
    EXPECT_EQ(table.find(old), nullptr);
    Item& again = table.take();
    ASSERT_EQ(&again, &item) << "the last slot given back is the next one taken";
    EXPECT_EQ(again.id.slot, old.slot);
    EXPECT_EQ(again.id.generation, old.generation + 1);
    EXPECT_EQ(table.find(old), nullptr);
    EXPECT_EQ(table.find(again.id), &again);
}

TEST(SlotTable, GivingBackRecyclesTheItem) {
    Table table;
    Item& item = table.take();
    item.value = 3;
    table.give_back(item);
    EXPECT_EQ(item.value, 0);
    EXPECT_EQ(item.recycled, 1);
}

TEST(SlotTable, NamesOutsideTheTableFindNothing) {
    Table table;
    EXPECT_EQ(table.find({0, 0}), nullptr);
    (void)table.take();
    EXPECT_EQ(table.find({Table::slots_per_chunk, 0}), nullptr);
    EXPECT_EQ(table.find({~std::uint32_t{0}, ~std::uint32_t{0}}), nullptr);
    EXPECT_EQ(table.find({0, 1}), nullptr);
}

TEST(SlotTable, AddressesStayPutWhileTheTableGrows) {
    Table table;
    std::vector<Item*> items;
    for (int i = 0; i < 10'000; ++i) {
        Item& item = table.take();
        item.value = i;
        items.push_back(&item);
    }
    for (int i = 0; i < 10'000; ++i) {
        const auto* item = items[static_cast<std::size_t>(i)];
        ASSERT_EQ(item->value, i);
        ASSERT_EQ(table.find(item->id), item);
    }
    EXPECT_EQ(table.used(), 10'000U);
    for (Item* item : items) {
        table.give_back(*item);
    }
    EXPECT_EQ(table.free(), table.capacity());
}

TEST(SlotTable, SlotsAreReusedBeforeTheTableGrows) {
    Table table;
    for (int i = 0; i < 10'000; ++i) {
        table.give_back(table.take());
    }
    EXPECT_EQ(table.capacity(), Table::slots_per_chunk);
}

TEST(SlotTable, PackedNamesComeBackWhole) {
    for (const SlotId id : {SlotId{0, 0}, SlotId{1, 0}, SlotId{0, 1}, SlotId{12345, 67890},
                            SlotId{~std::uint32_t{0}, ~std::uint32_t{0}}}) {
        const SlotId back = SlotId::unpack(id.packed());
        EXPECT_EQ(back.slot, id.slot);
        EXPECT_EQ(back.generation, id.generation);
    }
    EXPECT_NE((SlotId{1, 2}).packed(), (SlotId{2, 1}).packed());
}

TEST(SlotTable, EachVisitsEverySlotOnce) {
    Table table;
    for (std::uint32_t i = 0; i < Table::slots_per_chunk + 1; ++i) {
        (void)table.take();
    }
    std::unordered_set<std::uint32_t> seen;
    table.each([&](Item& item) { EXPECT_TRUE(seen.insert(item.id.slot).second); });
    EXPECT_EQ(seen.size(), table.capacity());
}

TEST(SlotTable, NoNameIsEverGivenTwice) {
    Table table;
    std::unordered_set<std::uint64_t> names;
    std::vector<Item*> taken;
    std::mt19937 random(3);
    for (int step = 0; step < 50'000; ++step) {
        if (taken.empty() || random() % 2 == 0) {
            Item& item = table.take();
            ASSERT_TRUE(names.insert(item.id.packed()).second);
            taken.push_back(&item);
        } else {
            std::swap(taken[random() % taken.size()], taken.back());
            const SlotId name = taken.back()->id;
            table.give_back(*taken.back());
            taken.pop_back();
            ASSERT_EQ(table.find(name), nullptr);
        }
        ASSERT_EQ(table.used(), taken.size());
    }
}

}  // namespace
}  // namespace iocp
