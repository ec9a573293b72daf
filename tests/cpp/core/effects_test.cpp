// Worklist: the order in which Turn finds the effects that were added to sockets. SocketList: the
// order of its sockets, and their removal.
#include "core/effects.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "core/socket_list.hpp"

namespace iocp {
namespace {

class EffectsTest : public ::testing::Test {
protected:
    Socket& socket(SocketState state = SocketState::open) {
        Socket& made = table_.take();
        made.state = state;
        return made;
    }
    // Takes all effects off the worklist, in their order.
    std::vector<std::pair<Socket*, Effects>> work_off() {
        std::vector<std::pair<Socket*, Effects>> done;
        while (!work_.empty()) {
            Socket& first = work_.first();
            while (const Effects effect = Worklist::take_effect(first)) {
                done.emplace_back(&first, effect);
            }
            work_.drop_first();
        }
        return done;
    }

    SlotTable<Socket> table_;
    Worklist work_{table_};
};

TEST_F(EffectsTest, TheLowestEffectOfASocketIsDoneFirst) {
    Socket& one = socket();
    work_.add(one, effect::settle);
    work_.add(one, effect::start_sending | effect::hand_out);
    work_.add(one, effect::fail);
    const std::vector<std::pair<Socket*, Effects>> expected{{&one, effect::fail},
                                                            {&one, effect::start_sending},
                                                            {&one, effect::settle},
                                                            {&one, effect::hand_out}};
    EXPECT_EQ(work_off(), expected);
    EXPECT_EQ(one.effects, 0);
    EXPECT_FALSE(one.effects_link.listed());
}

TEST_F(EffectsTest, SocketsComeInTheOrderOfTheirFirstEffects) {
    Socket& one = socket();
    Socket& other = socket();
    work_.add(other, effect::settle);
    work_.add(one, effect::fail);
    work_.add(other, effect::fail);
    const std::vector<std::pair<Socket*, Effects>> expected{
        {&other, effect::fail}, {&other, effect::settle}, {&one, effect::fail}};
    EXPECT_EQ(work_off(), expected);
}

TEST_F(EffectsTest, AnEffectThatIsLeftWhileOneIsDoneComesInTheSameRound) {
    Socket& one = socket();
    work_.add(one, effect::start_receiving | effect::settle);
    EXPECT_EQ(Worklist::take_effect(one), effect::start_receiving);
    work_.add(one, effect::fail);
    const std::vector<std::pair<Socket*, Effects>> expected{{&one, effect::fail},
                                                            {&one, effect::settle}};
    EXPECT_EQ(work_off(), expected);
}

TEST_F(EffectsTest, TheFirstErrorOfASocketStays) {
    Socket& one = socket();
    work_.fail(one, Error::of(Fault::timed_out, "the first error"));
    work_.fail(one, Error::of(Fault::cancelled, "the second error"));
    EXPECT_EQ(one.failure.fault, Fault::timed_out);
    EXPECT_EQ(work_off().size(), 1U);
}

TEST_F(EffectsTest, AnErrorOfSendingAloneGivesWay) {
    Socket& one = socket();
    one.failure = Error::of(Fault::cancelled, "sending failed");
    one.send_broken = true;
    work_.fail(one, Error::of(Fault::timed_out, "the socket failed"));
    EXPECT_EQ(one.failure.fault, Fault::timed_out);
    EXPECT_FALSE(one.send_broken);
    EXPECT_EQ(work_off().size(), 1U);
}

TEST_F(EffectsTest, ASocketThatIsEndingDoesNotFailAgain) {
    for (const SocketState state :
         {SocketState::free, SocketState::cancelling, SocketState::closed}) {
        Socket& one = socket(state);
        work_.fail(one, Error::of(Fault::timed_out, "a later error"));
        EXPECT_FALSE(one.failure);
    }
    EXPECT_TRUE(work_.empty());
}

TEST_F(EffectsTest, ARetiredSocketLeavesTheOthersTheirEffects) {
    Socket& one = socket();
    Socket& gone = socket();
    Socket& other = socket();
    for (Socket* each : {&one, &gone, &other}) {
        work_.add(*each, effect::settle);
    }
    work_.forget(gone);
    table_.give_back(gone);
    const std::vector<std::pair<Socket*, Effects>> expected{{&one, effect::settle},
                                                            {&other, effect::settle}};
    EXPECT_EQ(work_off(), expected);
}

TEST_F(EffectsTest, AReminderIsTakenOnce) {
    EXPECT_FALSE(work_.take_reminder());
    work_.remind();
    EXPECT_TRUE(work_.reminded());
    EXPECT_TRUE(work_.take_reminder());
    EXPECT_FALSE(work_.take_reminder());
}

using FlushList = SocketList<&Socket::flushes>;

std::vector<std::uint32_t> slots_of(FlushList& list) {
    std::vector<std::uint32_t> slots;
    while (!list.empty()) {
        slots.push_back(list.take().id.slot);
    }
    return slots;
}

TEST_F(EffectsTest, AListKeepsItsOrderAndHoldsASocketOnce) {
    FlushList list(table_);
    EXPECT_EQ(list.last(), nullptr);
    Socket& one = socket();
    Socket& two = socket();
    list.add(two);
    list.add(one);
    list.add(two);
    EXPECT_EQ(list.last(), &one);
    EXPECT_EQ(slots_of(list), (std::vector{two.id.slot, one.id.slot}));
    EXPECT_FALSE(one.flushes.listed());
    EXPECT_TRUE(list.empty());
}

TEST_F(EffectsTest, ASocketLeavesAListFromAnyPlace) {
    for (std::size_t leaving = 0; leaving < 3; ++leaving) {
        FlushList list(table_);
        std::vector<Socket*> members{&socket(), &socket(), &socket()};
        for (Socket* member : members) {
            list.add(*member);
        }
        list.remove(*members[leaving]);
        list.remove(*members[leaving]);  // a second removal changes nothing
        Socket& last = socket();
        list.add(last);  // joins at the end, whichever member was removed
        std::vector<std::uint32_t> expected;
        for (std::size_t i = 0; i < members.size(); ++i) {
            if (i != leaving) {
                expected.push_back(members[i]->id.slot);
            }
        }
        expected.push_back(last.id.slot);
        EXPECT_EQ(slots_of(list), expected);
    }
}

TEST_F(EffectsTest, TheOnlySocketLeavesAList) {
    FlushList list(table_);
    Socket& one = socket();
    list.add(one);
    list.remove(one);
    EXPECT_TRUE(list.empty());
    list.add(one);
    EXPECT_EQ(&list.take(), &one);
}

}  // namespace
}  // namespace iocp
