// A worker of a shared port, for one call (R24).
#include "run/worker_call.hpp"

#include "run_fixture.hpp"

namespace iocp::run {
namespace {

class WorkerCallTest : public ::testing::Test {
protected:
    WorkerCallTest() : port_(options()) {}
    static PortOptions options() {
        PortOptions made;
        made.concurrency = 1;
        return made;
    }
    Port::Next next(WorkerCall& call) {
        const std::lock_guard lock(port_.core->mutex());
        return call.next();
    }

    TestPort port_;
    TestHost host_;
    PortWorker worker_;
};

TEST_F(WorkerCallTest, IsActiveFromARecordToTheNextQuestion) {
    port_.post([] {});
    WorkerCall call(host_, port_, worker_);
    EXPECT_TRUE(worker_.inside);
    EXPECT_EQ(next(call), Port::Next::nothing);
    EXPECT_FALSE(call.wait(for_ever));
    EXPECT_EQ(next(call), Port::Next::record);
    EXPECT_TRUE(worker_.worker.active());
    EXPECT_EQ(call.hand_out().count, 1U);
    EXPECT_TRUE(worker_.worker.active());
    EXPECT_EQ(next(call), Port::Next::nothing);
    EXPECT_FALSE(worker_.worker.active());
}

TEST_F(WorkerCallTest, LeavesAtItsEndUnlessItKeepsItsRecords) {
    for (const bool keeps : {false, true}) {
        {
            WorkerCall call(host_, port_, worker_);
            port_.post([] {});
            EXPECT_FALSE(call.wait(for_ever));
            EXPECT_EQ(next(call), Port::Next::record);
            (void)call.hand_out();
            if (keeps) {
                call.keep();
            }
        }
        EXPECT_FALSE(worker_.inside);
        EXPECT_EQ(worker_.worker.active(), keeps);
    }
    const std::lock_guard lock(port_.core->mutex());
    port_.core->workers().leave(worker_.worker);
}

TEST_F(WorkerCallTest, ARecordThatWasNotHandedOutComesFirst) {
    port_.post([] {});
    {
        WorkerCall call(host_, port_, worker_);
        EXPECT_FALSE(call.wait(for_ever));
        ASSERT_EQ(next(call), Port::Next::record);
        host_.on_dispatch = [] { throw Raised(); };
        EXPECT_THROW((void)call.hand_out(), Raised);
    }
    host_.on_dispatch = nullptr;
    WorkerCall call(host_, port_, worker_);
    EXPECT_EQ(next(call), Port::Next::record);
    EXPECT_EQ(call.hand_out().count, 1U);
    EXPECT_EQ(next(call), Port::Next::nothing);
}

// The record must not wait for the thread that took it, because that thread need not run the port
// again.
TEST_F(WorkerCallTest, ARecordThatWasNotHandedOutGoesToAnotherWorker) {
    port_.post([] {});
    {
        WorkerCall call(host_, port_, worker_);
        EXPECT_FALSE(call.wait(for_ever));
        ASSERT_EQ(next(call), Port::Next::record);
        host_.on_dispatch = [] { throw Raised(); };
        EXPECT_THROW((void)call.hand_out(), Raised);
    }
    host_.on_dispatch = nullptr;
    EXPECT_TRUE(worker_.inbox.empty());
    EXPECT_FALSE(worker_.worker.active());
    PortWorker other;
    WorkerCall call(host_, port_, other);
    ASSERT_EQ(next(call), Port::Next::record);
    EXPECT_EQ(call.hand_out().count, 1U);
    EXPECT_EQ(next(call), Port::Next::nothing);
}

TEST_F(WorkerCallTest, ARecordForWhichTheHostHasNoRoomIsNotLost) {
    Taken full;
    full.maximum = 1;
    full.count = 1;
    port_.post([] {});
    {
        WorkerCall call(host_, port_, worker_);
        EXPECT_FALSE(call.wait(for_ever));
        ASSERT_EQ(next(call), Port::Next::record);
        host_.taken = &full;
        EXPECT_EQ(call.hand_out().count, 0U);
        host_.taken = nullptr;
    }
    {
        const std::lock_guard lock(port_.core->mutex());
        EXPECT_FALSE(port_.core->workers().idle()) << "the port must not end under the record";
    }
    WorkerCall call(host_, port_, worker_);
    {
        const std::lock_guard lock(port_.core->mutex());
        EXPECT_EQ(call.more(), Port::Next::record);
    }
    EXPECT_EQ(call.hand_out().count, 1U);
}

TEST_F(WorkerCallTest, TheOneThatEndsThePortClosesIt) {
    {
        const std::lock_guard lock(port_.core->mutex());
        port_.core->begin_close(0);
    }
    PortWorker other;
    WorkerCall first(host_, port_, worker_);
    WorkerCall second(host_, port_, other);
    EXPECT_EQ(next(first), Port::Next::over);
    EXPECT_TRUE(port_.closed);
    EXPECT_EQ(next(second), Port::Next::ended);
    EXPECT_FALSE(second.wait(for_ever)) << "there is nothing to wait for";
}

TEST_F(WorkerCallTest, ChecksForSignalsAfterAWait) {
    host_.on_signals = [] { throw Raised(); };
    WorkerCall call(host_, port_, worker_);
    EXPECT_THROW((void)call.wait(0), Raised);
}

}  // namespace
}  // namespace iocp::run
