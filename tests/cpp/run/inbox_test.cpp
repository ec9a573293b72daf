// Inbox: the records that a thread has taken and not handed out yet.
#include "run/inbox.hpp"

#include <gtest/gtest.h>

namespace iocp::run {
namespace {

TEST(InboxTest, GivesItsRecordsInOrderAndIsRefilledWhenEmpty) {
    Inbox inbox;
    EXPECT_TRUE(inbox.empty());
    int users[3];
    for (int& user : users) {
        Ready ready;
        ready.user = &user;
        if (inbox.empty()) {
            inbox.refill().push_back(std::move(ready));
        } else {
            FAIL();
        }
        EXPECT_EQ(inbox.size(), 1U);
        EXPECT_EQ(inbox.take().user, &user);
        EXPECT_TRUE(inbox.empty());
    }
    std::vector<Ready>& records = inbox.refill();
    records.resize(2);
    records[0].user = &users[0];
    records[1].user = &users[1];
    EXPECT_EQ(inbox.take().user, &users[0]);
    EXPECT_EQ(inbox.size(), 1U) << "the rest waits for the next dispatch";
    EXPECT_EQ(inbox.take().user, &users[1]);
}

}  // namespace
}  // namespace iocp::run
