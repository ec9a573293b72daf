// The stops of a port, and the calls of run() that they end.
#include "run/stops.hpp"

#include <gtest/gtest.h>

namespace iocp::run {
namespace {

TEST(StopsTest, EndsEveryCallUnderWay) {
    Stops stops;
    Stops::Call calls[2];
    stops.begin(calls[0]);
    stops.begin(calls[1]);
    EXPECT_FALSE(stops.stopped(calls[0]));
    stops.stop();
    EXPECT_TRUE(stops.stopped(calls[0]));
    EXPECT_TRUE(stops.stopped(calls[1]));
    stops.end(calls[0]);
    stops.end(calls[1]);
    Stops::Call next;
    stops.begin(next);
    EXPECT_FALSE(stops.stopped(next)) << "that stop has ended the calls that it was for";
    stops.end(next);
}

TEST(StopsTest, BeforeAnyCallEndsOneCall) {
    Stops stops;
    stops.stop();
    stops.stop();
    Stops::Call first;
    stops.begin(first);
    EXPECT_TRUE(stops.stopped(first));
    stops.end(first);
    Stops::Call second;
    stops.begin(second);
    EXPECT_FALSE(stops.stopped(second)) << "both were one stop";
    stops.end(second);
}

TEST(StopsTest, AfterTheLastCallAskedIsKeptForTheNext) {
    Stops stops;
    Stops::Call call;
    stops.begin(call);
    EXPECT_FALSE(stops.stopped(call));
    stops.stop();  // the call is leaving for another reason
    stops.end(call);
    stops.begin(call);
    EXPECT_TRUE(stops.stopped(call));
    stops.end(call);
}

TEST(StopsTest, OfACallThatNeverAskedIsKept) {
    Stops stops;
    stops.stop();
    Stops::Call call;
    stops.begin(call);  // as if a hook threw before the call asked stopped()
    stops.end(call);
    stops.begin(call);
    EXPECT_TRUE(stops.stopped(call));
    stops.end(call);
}

TEST(StopsTest, AnotherCallUnderWayTakesTheStop) {
    Stops stops;
    Stops::Call first;
    Stops::Call second;
    stops.begin(first);
    stops.begin(second);
    stops.stop();
    stops.end(first);  // without asking stopped()
    EXPECT_TRUE(stops.stopped(second));
    stops.end(second);
    stops.begin(first);
    EXPECT_FALSE(stops.stopped(first));
    stops.end(first);
}

}  // namespace
}  // namespace iocp::run
