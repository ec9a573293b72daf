// Connect and accept operations, on every backend.
#include "contract.hpp"

namespace iocp::contract {
namespace {

TEST_P(Contract, ARefusedConnectSaysSo) {
    Socket& gone = engine().listener();
    const Address address = engine().name_of(gone);
    engine().close(gone);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(gone); }));
    Socket& socket = engine().open();
    const Op& op = engine().connect(socket, address);
    const Op& behind = engine().send(socket, text("never"));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(platform::is_refused(op.error.code)) << op.error.code;
    if (behind.accepted) {
        ASSERT_TRUE(engine().finish_one(behind));
        EXPECT_TRUE(behind.error);
    } else {
        EXPECT_TRUE(behind.refusal) << "the refusal is known before the send is posted";
    }
}

TEST_P(Contract, SendsMayBeQueuedBehindAConnect) {
    Socket& listener = engine().listener();
    const Op& accept = engine().post(listener, OperationKind::accept);
    Socket& client = engine().open();
    const Op& connect = engine().connect(client, engine().name_of(listener));
    const Op& first = engine().send(client, text("first "));
    const Op& second = engine().send(client, text("second"));
    ASSERT_TRUE(engine().run_until([&] { return second.finished() && accept.finished(); }));
    EXPECT_TRUE(connect.succeeded() && first.succeeded() && second.succeeded());
    EXPECT_EQ(read_exactly(*accept.connection, 12), text("first second"));
}

TEST_P(Contract, AListenerTakesEveryConnection) {
    Socket& listener = engine().listener();
    Op& each = engine().post(listener, OperationKind::accept_each);
    std::vector<Op*> connects;
    for (int i = 0; i < 150; ++i) {
        connects.push_back(&engine().connect(engine().open(), engine().name_of(listener)));
        if (i % 50 == 49) {
            engine().settle();
        }
    }
    ASSERT_TRUE(engine().finish_all(connects));
    ASSERT_TRUE(engine().run_until([&] { return each.connections.size() == 150; }));
    for (const Op* op : connects) {
        EXPECT_TRUE(op->succeeded());
    }
    const Op& op = engine().receive(*each.connections[77], 10);
    EXPECT_TRUE(op.accepted);
    engine().cancel(each);
    ASSERT_TRUE(engine().finish_one(each));
}

}  // namespace
}  // namespace iocp::contract
