// The Windows backend against a Winsock that refuses: what the system at hand never does is let
// happen at the table of its calls; everything above them is the real code.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "backend/windows/iocp_backend.hpp"
#include "engine.hpp"

namespace iocp::contract {
namespace {

// The calls are plain functions, so what they are to do is beside them.
struct Script {
    int fail_receives{0};  // how many calls to come fail, each with `code`
    int fail_sends{0};
    int fail_sockets{0};
    int fail_accepts{0};
    int fail_contexts{0};
    int code{0};
    int accept_contexts{0};
    int connect_contexts{0};
    int cancels{0};
    int receives{0};
    SOCKET context_of{INVALID_SOCKET};  // the listener that the last accept context named
};
Script script;
Winsock real;

bool refuse(int& left) {
    if (left == 0) {
        return false;
    }
    --left;
    ::WSASetLastError(script.code);
    return true;
}

int WSAAPI receive(SOCKET socket, LPWSABUF parts, DWORD count, LPDWORD bytes, LPDWORD flags,
                   LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (overlapped != nullptr) {
        ++script.receives;
        if (refuse(script.fail_receives)) {
            return SOCKET_ERROR;
        }
    }
    return real.receive(socket, parts, count, bytes, flags, overlapped, routine);
}

int WSAAPI send(SOCKET socket, LPWSABUF parts, DWORD count, LPDWORD bytes, DWORD flags,
                LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (overlapped != nullptr && refuse(script.fail_sends)) {
        return SOCKET_ERROR;
    }
    return real.send(socket, parts, count, bytes, flags, overlapped, routine);
}

SOCKET WSAAPI make_socket(int family, int type, int protocol, LPWSAPROTOCOL_INFOW info, GROUP group,
                          DWORD flags) {
    return refuse(script.fail_sockets) ? INVALID_SOCKET
                                       : real.socket(family, type, protocol, info, group, flags);
}

BOOL WINAPI accept_ex(SOCKET listener, SOCKET made, void* buffer, DWORD room, DWORD own, DWORD peer,
                      LPDWORD bytes, LPOVERLAPPED overlapped) {
    return refuse(script.fail_accepts)
               ? FALSE
               : real.accept_ex(listener, made, buffer, room, own, peer, bytes, overlapped);
}

int WSAAPI set_option(SOCKET socket, int level, int option, const char* value, int length) {
    if (level == SOL_SOCKET && option == SO_UPDATE_ACCEPT_CONTEXT) {
        ++script.accept_contexts;
        script.context_of = *reinterpret_cast<const SOCKET*>(value);
        if (refuse(script.fail_contexts)) {
            return SOCKET_ERROR;
        }
    }
    if (level == SOL_SOCKET && option == SO_UPDATE_CONNECT_CONTEXT) {
        ++script.connect_contexts;
    }
    return real.set_option(socket, level, option, value, length);
}

BOOL WINAPI cancel(HANDLE handle, LPOVERLAPPED overlapped) {
    ++script.cancels;
    return real.cancel(handle, overlapped);
}

BOOL WINAPI no_modes(HANDLE /*handle*/, UCHAR /*modes*/) { return FALSE; }

class WinsockSeam : public ::testing::Test {
protected:
    void SetUp() override { make({}); }

    void make(const PortOptions& options, bool skips = true) {
        engine_.reset();
        script = {};
        std::string reason;
        const Winsock* system = Winsock::system(reason);
        ASSERT_NE(system, nullptr) << reason;
        real = *system;
        Winsock table = real;
        table.receive = receive;
        table.send = send;
        table.socket = make_socket;
        table.accept_ex = accept_ex;
        table.set_option = set_option;
        table.cancel = cancel;
        if (!skips) {
            table.set_modes = no_modes;
        }
        const std::size_t descriptors = platform::open_descriptors();
        auto backend = IocpBackend::create(table, options.backend, reason);
        ASSERT_NE(backend, nullptr) << reason;
        engine_ = std::make_unique<Engine>(std::move(backend), options, descriptors);
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }

    std::unique_ptr<Engine> engine_;
};

class Refusals : public WinsockSeam, public ::testing::WithParamInterface<int> {};

// R08, R10: every way in which Windows says that it is short of something.
TEST_P(Refusals, AReceiveIsRefusedAndMayBePostedAgain) {
    const auto [one, other] = engine().pair();
    script.code = GetParam();
    script.fail_receives = 1;
    const Op& refused = engine().receive(*other, 4096);
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().charged(), 0U);
    const Op& again = engine().receive(*other, 4096);
    engine().send(*one, Bytes(3, std::byte{7}));
    ASSERT_TRUE(engine().finish_one(again));
    EXPECT_TRUE(again.succeeded());
    EXPECT_EQ(again.transferred, 3U);
}

TEST_P(Refusals, ASendIsRefusedAndMayBePostedAgain) {
    const auto [one, other] = engine().pair();
    script.code = GetParam();
    script.fail_sends = 1;
    const Op& refused = engine().post(*one, Kind::send, Bytes(5, std::byte{1}), {.batched = true});
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().charged(), 0U);
    const Op& again = engine().post(*one, Kind::send, Bytes(5, std::byte{2}), {.batched = true});
    ASSERT_TRUE(engine().finish_one(again));
    EXPECT_TRUE(again.succeeded());
    const Op& got = engine().receive(*other, 16);
    ASSERT_TRUE(engine().finish_one(got));
    EXPECT_EQ(got.transferred, 5U);
}

TEST_P(Refusals, ASocketIsRefused) {
    script.code = GetParam();
    script.fail_sockets = 1;
    Socket* socket = nullptr;
    const Error error =
        engine().locked([&] { return port().open(AF_INET, SOCK_STREAM, 0, socket); });
    EXPECT_EQ(error.fault, Fault::resource);
    EXPECT_EQ(error.code, GetParam());
    EXPECT_EQ(socket, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Codes, Refusals,
                         ::testing::Values(WSAENOBUFS, WSAEMFILE, ERROR_NO_SYSTEM_RESOURCES,
                                           ERROR_NOT_ENOUGH_QUOTA, ERROR_WORKING_SET_QUOTA,
                                           WSA_NOT_ENOUGH_MEMORY),
                         [](const auto& code) { return "Code" + std::to_string(code.param); });

// R05: a reset ends its socket and all that belongs to it.
TEST_F(WinsockSeam, AResetOfOneReceiveEndsTheSocket) {
    const auto [one, other] = engine().pair();
    const Op& first = engine().receive(*other, 64);
    const Op& second = engine().receive(*other, 64);
    engine().settle();
    script.code = WSAECONNRESET;
    script.fail_receives = 1;
    engine().send(*one, Bytes(4, std::byte{1}));  // the first completes, the second is started
    ASSERT_TRUE(engine().finish_one(first));
    ASSERT_TRUE(engine().finish_one(second));
    EXPECT_EQ(second.error.code, WSAECONNRESET);
    EXPECT_TRUE(engine().run_until([&, at = other] { return engine().is_closed(*at); }));
    EXPECT_EQ(engine().charged(), 0U);
}

// Invisible under Wine, where a connection works without it.
TEST_F(WinsockSeam, EveryAcceptAndConnectUpdatesItsContext) {
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, Kind::accept_each);
    for (int i = 0; i < 40; ++i) {
        Socket& client = engine().open();
        ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    }
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 40; }));
    EXPECT_EQ(script.accept_contexts, 40);
    EXPECT_EQ(script.connect_contexts, 40);
    EXPECT_EQ(script.context_of, static_cast<SOCKET>(listener.handle));
}

// R32: what befalls one accept is told and never stops the listener.
TEST_F(WinsockSeam, AFailedAcceptIsToldAndTheListenerGoesOn) {
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, Kind::accept_each, {}, {},
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

TEST_F(WinsockSeam, AListenerWithoutSocketsToAcceptWithWaitsForThem) {
    Socket& listener = engine().listener();
    Socket& client = engine().open();
    script.code = WSAEMFILE;
    script.fail_sockets = 1;
    const Op& accepting = engine().post(listener, Kind::accept_each, {}, {},
                                        [](Op& op) { op.may_fail_accepts = true; });
    ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 1; }));
    EXPECT_EQ(accepting.accept_errors, 1U);
}

TEST_F(WinsockSeam, PostedAcceptsAreAsManyAsAskedForAndInternal) {
    PortOptions options;
    options.backend.posted_accepts = 5;
    make(options);
    Socket& listener = engine().listener();
    const Op& accepting = engine().post(listener, Kind::accept_each);
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    EXPECT_EQ(engine().charged(), 0U);
    Socket& client = engine().open();
    ASSERT_TRUE(engine().finish_one(engine().connect(client, engine().name_of(listener))));
    ASSERT_TRUE(engine().run_until([&] { return accepting.connections.size() == 1; }));
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    engine().locked([&] { port().close(listener, 0); });
    ASSERT_TRUE(engine().run_until([&] { return engine().view().internal == 0; }));
    EXPECT_EQ(script.cancels, 5);
}

// Exactly one completion, whether or not what finishes at once queues a packet.
TEST_F(WinsockSeam, WithoutSkippingEveryRequestHasItsPacket) {
    make({}, false);
    const auto [one, other] = engine().pair();
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, Kind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
        EXPECT_TRUE(sent.succeeded());
        const Op& got = engine().receive(*other, 10);
        ASSERT_TRUE(engine().finish_one(got));
        EXPECT_TRUE(got.succeeded());
    }
    EXPECT_EQ(port().counts().late, 0U);
}

TEST_F(WinsockSeam, WhatFinishesAtOnceQueuesNoPacket) {
    const auto [one, other] = engine().pair();
    const std::uint64_t before = port().counts().packets;
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, Kind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
    }
    EXPECT_EQ(port().counts().packets, before);
    EXPECT_EQ(port().counts().late, 0U);
    (void)other;
}

// WSAEMSGSIZE returned at once still queues a packet: it is swallowed, and the next receive's own
// packet is not mistaken for it.
TEST_F(WinsockSeam, ATruncatedDatagramCompletesOnce) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    for (int i = 0; i < 50; ++i) {
        const Op& waits = engine().receive(other, 4);
        const Op& second = engine().receive(other, 4);  // started when the first is over
        engine().send(one, Bytes(100, std::byte{5}));
        engine().send(one, Bytes(100, std::byte{6}));
        ASSERT_TRUE(engine().finish_one(waits));
        ASSERT_TRUE(engine().finish_one(second));
        EXPECT_EQ(waits.transferred, 4U);
        EXPECT_EQ(second.transferred, 4U);
        EXPECT_EQ(second.memory.front(), std::byte{6});
    }
    EXPECT_EQ(port().counts().late, 0U);
}

}  // namespace
}  // namespace iocp::contract

#endif
