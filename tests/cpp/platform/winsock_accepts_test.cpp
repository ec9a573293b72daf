// Posted accepts: SO_UPDATE_ACCEPT_CONTEXT, failures, and a listener that outlives its socket.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "winsock_seam.hpp"

namespace iocp::contract {
namespace {

class WinsockAccepts : public WinsockSeam {};

// Counts the updates of accept and connect contexts, because under Wine a connection works without
// them as well.
TEST_F(WinsockAccepts, EveryAcceptAndConnectUpdatesItsContext) {
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, OperationKind::accept_each);
    for (int i = 0; i < 40; ++i) {
        Socket& client = engine().open();
        ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    }
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 40; }));
    EXPECT_EQ(script.accept_contexts, 40);
    EXPECT_EQ(script.connect_contexts, 40);
    EXPECT_EQ(script.context_of, static_cast<SOCKET>(listener.handle));
}

// R32: the failure of one accept is reported and never stops the listener.
TEST_F(WinsockAccepts, AFailedAcceptIsToldAndTheListenerGoesOn) {
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, OperationKind::accept_each, {}, {},
                                        [](Op& op) { op.may_fail_accepts = true; });
    engine().settle();
    script.code = WSAECONNRESET;
    script.fail_contexts = 1;
    for (int i = 0; i < 3; ++i) {
        Socket& client = engine().open();
        ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    }
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 2; }));
    EXPECT_FALSE(accepting.finished());
    EXPECT_EQ(accepting.accept_errors, 1U);
}

TEST_F(WinsockAccepts, AListenerWithoutSocketsToAcceptWithWaitsForThem) {
    Socket& listener = engine().listener();
    Socket& client = engine().open();
    script.code = WSAEMFILE;
    script.fail_sockets = 1;
    const Op& accepting = engine().post(listener, OperationKind::accept_each, {}, {},
                                        [](Op& op) { op.may_fail_accepts = true; });
    ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 1; }));
    EXPECT_EQ(accepting.accept_errors, 1U);
}

TEST_F(WinsockAccepts, PostedAcceptsAreAsManyAsAskedForAndInternal) {
    PortOptions options;
    options.backend.posted_accepts = 5;
    make(options);
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, OperationKind::accept_each);
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    EXPECT_EQ(engine().charged(), 0U);
    Socket& client = engine().open();
    ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 1; }));
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    engine().locked([&] { port().sockets().close(listener, 0); });
    ASSERT_TRUE(engine().run_until([&] { return engine().view().internal == 0; }));
    EXPECT_EQ(script.cancels, 5);
}

// The kernel has the accepts of a closed listener until their packets arrive. It also has the
// addresses that it writes, and the sockets that were to become connections.
TEST_F(WinsockAccepts, AListenerIsKeptUntilItsLastAcceptHasReported) {
    PortOptions options;
    options.backend.posted_accepts = 5;
    make(options);
    Socket& listener = engine().listener();
    engine().post(listener, OperationKind::accept_each);
    engine().settle();
    script.deaf_to_cancels = true;  // only the close of the socket ends the accepts
    engine().close(listener);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(listener); }));
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    ASSERT_TRUE(engine().run_until([&] { return engine().view().internal == 0; }));
}

// The backend's destructor waits for the last accepts, so that no handle is left.
TEST_F(WinsockAccepts, ABackendThatGoesWaitsForItsLastAccepts) {
    engine_.reset();
    const std::size_t before = platform::open_descriptors();
    std::string reason;
    auto backend = IocpBackend::create(real, {}, reason);
    ASSERT_NE(backend, nullptr) << reason;
    Socket listener;
    ASSERT_EQ(backend->open(AF_INET, SOCK_STREAM, 0, listener.handle), 0);
    ASSERT_EQ(backend->describe(listener.handle, listener), 0);
    ASSERT_EQ(backend->bind(listener, Engine::loopback()), 0);
    ASSERT_EQ(backend->listen(listener, 8), 0);
    Operation op;
    op.socket = &listener;
    op.kind = OperationKind::accept_each;
    EXPECT_EQ(backend->start(op, 1).start, Start::pending);
    EXPECT_GT(backend->internal_bytes(), 0U);
    backend->close(listener);
    backend.reset();
    EXPECT_EQ(platform::open_descriptors(), before);
}

}  // namespace
}  // namespace iocp::contract

#endif
