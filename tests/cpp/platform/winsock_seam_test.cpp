// The Windows backend on a Winsock that refuses. The table of Winsock's calls injects results that
// the system here never gives. Everything above the table is the real code.
#ifdef _WIN32

#include <gtest/gtest.h>

#include "backend/windows/iocp_backend.hpp"
#include "base/process.hpp"
#include "engine.hpp"

namespace iocp::contract {
namespace {

// The behaviour of the replaced calls, which are plain functions and cannot store it.
struct Script {
    int fail_receives{0};  // number of next calls that fail with `code`
    int empty_reads{0};    // number of next non-blocking calls that find nothing
    int cut_receives{0};   // number of next calls that return WSAEMSGSIZE and queue a packet
    int fail_sends{0};
    int fail_sockets{0};
    int fail_accepts{0};
    int fail_contexts{0};
    int code{0};
    int accept_contexts{0};
    int connect_contexts{0};
    int cancels{0};
    bool deaf_to_cancels{false};
    int lose_cancels{0};  // number of next cancels that do nothing
    int disconnects{0};
    DWORD disconnect_flags{0};
    // Number of next TransmitFile calls whose packet reports them as pending, as it does after the
    // end of their thread.
    int lose_files{0};
    bool disconnects_quietly{false};  // done, reported as pending, and without a packet
    int connects{0};
    SOCKET connected{INVALID_SOCKET};
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
        if (script.cut_receives != 0) {
            --script.cut_receives;
            (void)real.receive(socket, parts, count, bytes, flags, overlapped, routine);
            ::WSASetLastError(WSAEMSGSIZE);
            return SOCKET_ERROR;
        }
    } else if (script.empty_reads != 0) {
        --script.empty_reads;
        ::WSASetLastError(WSAEWOULDBLOCK);
        return SOCKET_ERROR;
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
    if (script.deaf_to_cancels) {
        return TRUE;
    }
    if (script.lose_cancels != 0) {
        --script.lose_cancels;
        return TRUE;
    }
    return real.cancel(handle, overlapped);
}

BOOL WINAPI disconnect_ex(SOCKET socket, LPOVERLAPPED overlapped, DWORD flags, DWORD reserved) {
    ++script.disconnects;
    script.disconnect_flags = flags;
    if (script.disconnects_quietly) {
        overlapped->Internal = 0;
        ::WSASetLastError(WSA_IO_PENDING);
        return FALSE;
    }
    return real.disconnect_ex(socket, overlapped, flags, reserved);
}

BOOL WINAPI connect_ex(SOCKET socket, const sockaddr* where, int length, void* data, DWORD size,
                       LPDWORD bytes, LPOVERLAPPED overlapped) {
    ++script.connects;
    script.connected = socket;
    return real.connect_ex(socket, where, length, data, size, bytes, overlapped);
}

BOOL WINAPI transmit_file(SOCKET socket, HANDLE file, DWORD count, DWORD part,
                          LPOVERLAPPED overlapped, LPTRANSMIT_FILE_BUFFERS buffers, DWORD flags) {
    if (script.lose_files == 0) {
        return real.transmit_file(socket, file, count, part, overlapped, buffers, flags);
    }
    --script.lose_files;
    WSABUF nothing{};
    DWORD bytes = 0;
    // sends no byte, only to queue the packet of `overlapped`
    (void)real.send(socket, &nothing, 1, &bytes, 0, overlapped, nullptr);
    overlapped->Internal = static_cast<ULONG_PTR>(STATUS_PENDING);
    ::WSASetLastError(WSA_IO_PENDING);
    return FALSE;
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
        table.disconnect_ex = disconnect_ex;
        table.connect_ex = connect_ex;
        table.transmit_file = transmit_file;
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

// R08, R10: every error by which Windows reports a lack of a resource.
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
    const Op& refused =
        engine().post(*one, OperationKind::send, Bytes(5, std::byte{1}), {.batched = true});
    ASSERT_TRUE(engine().finish_one(refused));
    EXPECT_EQ(refused.error.fault, Fault::resource);
    EXPECT_EQ(engine().charged(), 0U);
    const Op& again =
        engine().post(*one, OperationKind::send, Bytes(5, std::byte{2}), {.batched = true});
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
        engine().locked([&] { return port().sockets().open(AF_INET, SOCK_STREAM, 0, socket); });
    EXPECT_EQ(error.fault, Fault::resource);
    EXPECT_EQ(error.code, GetParam());
    EXPECT_EQ(socket, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Codes, Refusals,
                         ::testing::Values(WSAENOBUFS, WSAEMFILE, ERROR_NO_SYSTEM_RESOURCES,
                                           ERROR_NOT_ENOUGH_QUOTA, ERROR_WORKING_SET_QUOTA,
                                           WSA_NOT_ENOUGH_MEMORY),
                         [](const auto& code) { return "Code" + std::to_string(code.param); });

// R05: a reset ends its socket and everything that belongs to it.
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

// Wine cannot show a missing update: a connection works there without it.
TEST_F(WinsockSeam, EveryAcceptAndConnectUpdatesItsContext) {
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
TEST_F(WinsockSeam, AFailedAcceptIsToldAndTheListenerGoesOn) {
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

TEST_F(WinsockSeam, AListenerWithoutSocketsToAcceptWithWaitsForThem) {
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

TEST_F(WinsockSeam, PostedAcceptsAreAsManyAsAskedForAndInternal) {
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

// Exactly one completion, whether or not a request that finishes at once queues a packet.
TEST_F(WinsockSeam, WithoutSkippingEveryRequestHasItsPacket) {
    make({}, false);
    const auto [one, other] = engine().pair();
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, OperationKind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
        EXPECT_TRUE(sent.succeeded());
        const Op& got = engine().receive(*other, 10);
        ASSERT_TRUE(engine().finish_one(got));
        EXPECT_TRUE(got.succeeded());
    }
    EXPECT_EQ(port().figures().counts().late, 0U);
}

TEST_F(WinsockSeam, WhatFinishesAtOnceQueuesNoPacket) {
    const auto [one, other] = engine().pair();
    const std::uint64_t before = port().figures().counts().packets;
    for (int i = 0; i < 100; ++i) {
        const Op& sent =
            engine().post(*one, OperationKind::send, Bytes(10, std::byte{1}), {.batched = true});
        ASSERT_TRUE(engine().finish_one(sent));
    }
    EXPECT_EQ(port().figures().counts().packets, before);
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

// WSAEMSGSIZE returned at once still queues a packet. The backend swallows it, and does not mistake
// the next receive's packet for it.
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
    EXPECT_EQ(port().figures().counts().late, 0U);
}

TEST_F(WinsockSeam, ThePacketOfAReceiveThatWasCutAtOnceIsSwallowed) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    script.cut_receives = 1;
    const Op& cut = engine().receive(other, 4);
    ASSERT_TRUE(engine().finish_one(cut));
    EXPECT_TRUE(cut.succeeded());
    EXPECT_EQ(cut.transferred, 4U);
    const Op& next = engine().receive(other, 100);
    const std::uint64_t packets = port().figures().counts().packets;
    engine().send(one, Bytes(3, std::byte{1}));  // the packet of the first
    engine().settle();
    EXPECT_FALSE(next.finished());
    EXPECT_EQ(port().figures().counts().packets, packets);
    engine().send(one, Bytes(50, std::byte{2}));
    ASSERT_TRUE(engine().finish_one(next));
    EXPECT_EQ(next.transferred, 50U);
    EXPECT_EQ(port().figures().counts().late, 0U);
}

// A readiness wait turns an error into readiness, and the following read gets it.
TEST_F(WinsockSeam, TheErrorThatALookMetIsWhatTheNextReadGets) {
    const auto [one, other] = engine().pair();
    const Op& look = engine().post(*other, OperationKind::zero_byte);
    engine().settle();
    engine().abort(*one);
    ASSERT_TRUE(engine().finish_one(look));
    EXPECT_TRUE(look.succeeded());
    const Op& next = engine().receive(*other, 10);
    if (next.accepted) {
        ASSERT_TRUE(engine().finish_one(next));
    }
    EXPECT_TRUE(platform::is_reset(next.accepted ? next.error.code : next.refusal.code));
    for (const ReceiveStrategy strategy : {ReceiveStrategy::pooled, ReceiveStrategy::zero_byte}) {
        const auto [here, there] = engine().pair();
        const Op& stream = engine().subscribe(*there, strategy);
        engine().settle();
        engine().abort(*here);
        ASSERT_TRUE(engine().finish_one(stream));
        EXPECT_TRUE(platform::is_reset(stream.error.code));
        EXPECT_EQ(stream.ends, 0) << "a reset is no end of the stream";
    }
}

// The readiness wait found data that another reader took: the receive waits again.
TEST_F(WinsockSeam, AWatchedReceiveThatFindsNothingAfterAllIsStartedAgain) {
    PortOptions options;
    options.budget_bytes = 2 * system_page_size();
    options.over_budget = OverBudget::queue;
    options.queue_patience = 1'000'000;
    make(options);
    const auto idle = engine().pair();
    const auto [one, other] = engine().pair();
    engine().receive(*idle.other, system_page_size() + 1);  // on two pages
    const Op& held = engine().receive(*other, 64);
    const Op& second = engine().receive(*other, 64);
    engine().send(*one, Bytes(5, std::byte{1}));
    script.empty_reads = 3;
    ASSERT_TRUE(engine().finish_one(held));
    EXPECT_EQ(held.transferred, 5U);
    EXPECT_EQ(script.empty_reads, 0);
    script.empty_reads = 1000;
    engine().send(*one, Bytes(7, std::byte{2}));
    engine().settle();
    EXPECT_FALSE(second.finished());
    EXPECT_TRUE(engine().cancel(second));
    ASSERT_TRUE(engine().finish_one(second));
    EXPECT_TRUE(second.error);
    script.empty_reads = 0;
    const Op& last = engine().receive(*other, 64);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_EQ(last.transferred, 7U);
}

// R06, R09: the kernel owns the buffer until the packet, whatever was requested meanwhile.
TEST_F(WinsockSeam, ACancelledReceiveIsHeldAndChargedUntilItsPacket) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, system_page_size());
    engine().settle();
    const std::uint64_t charged = engine().charged();
    EXPECT_GT(charged, 0U);
    script.deaf_to_cancels = true;
    EXPECT_TRUE(engine().cancel(op));
    engine().settle();
    EXPECT_GE(script.cancels, 1);
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(op.leases_given_back, 0);
    EXPECT_EQ(engine().charged(), charged);
    EXPECT_EQ(engine().view().cancelling, charged);
    engine().send(*one, Bytes(5, std::byte{1}));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded()) << "the cancel lost the race";
    EXPECT_EQ(op.transferred, 5U);
    EXPECT_EQ(engine().charged(), 0U);
}

// Wine 8.0 loses a cancel that meets the continuation of its request.
class LostCancels : public WinsockSeam {
protected:
    // Posts a receive, and waits until the kernel has it. The next two cancels will be lost.
    const Op& waiting(Socket& socket, OperationKind kind = OperationKind::receive) {
        const Op& op = engine().post(socket, kind, Bytes(kind == OperationKind::receive ? 64 : 0));
        engine().settle();
        EXPECT_FALSE(op.finished());
        script.lose_cancels = 2;
        return op;
    }
    void expect_cancelled(const Op& op) {
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_EQ(op.error.fault, Fault::cancelled);
        EXPECT_EQ(script.lose_cancels, 0);
    }
};

TEST_F(LostCancels, AreRepeated) {
    const auto [one, other] = engine().pair();
    for (const OperationKind kind : {OperationKind::receive, OperationKind::zero_byte}) {
        const Op& op = waiting(*other, kind);
        EXPECT_TRUE(engine().cancel(op));
        expect_cancelled(op);
    }
    (void)one;
}

// A lost cancel is repeated although a wake ends every wait before its time limit.
TEST_F(LostCancels, AreRepeatedUnderTraffic) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().run_until([&] {
        port().backend().wake();
        return op.finished();
    }));
    expect_cancelled(op);
    (void)one;
}

// The cancel of another thread ends the unlimited wait, so that the next one is short.
TEST_F(LostCancels, AreRepeatedAfterTheWaitThatTheyMet) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    auto& backend = dynamic_cast<IocpBackend&>(port().backend());
    engine().locked([&] { backend.publish(); });
    EXPECT_TRUE(engine().cancel(op));
    backend.wait(-1);
    std::vector<Packet> packets;
    engine().locked([&] { backend.reap(packets); });
    EXPECT_TRUE(packets.empty());
    expect_cancelled(op);
    (void)one;
}

// A shutdown for receiving cancels the receive that waits, which then ends without an error.
TEST_F(LostCancels, OfAShutdownAreRepeated) {
    const auto [one, other] = engine().pair();
    const Op& op = waiting(*other);
    EXPECT_FALSE(
        engine().locked([&, at = other] { return port().sockets().shutdown(*at, true, false); }));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.transferred, 0U);
    EXPECT_EQ(script.lose_cancels, 0);
    (void)one;
}

TEST_F(WinsockSeam, ASocketIsNotClosedBeforeItsLastPacket) {
    const auto [one, other] = engine().pair();
    const Op& op = engine().receive(*other, 100);
    engine().settle();
    script.deaf_to_cancels = true;
    engine().close(*other);
    engine().settle();
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(other->state, SocketState::cancelling);
    EXPECT_FALSE(engine().is_closed(*other));
    engine().send(*one, Bytes(5, std::byte{1}));
    ASSERT_TRUE(engine().finish_one(op));
    ASSERT_TRUE(engine().run_until([&, at = other] { return engine().is_closed(*at); }));
}

// The accepts of a closed listener belong to the kernel until their packets. So do the addresses
// that they write, and the sockets that were to become connections.
TEST_F(WinsockSeam, AListenerIsKeptUntilItsLastAcceptHasReported) {
    PortOptions options;
    options.backend.posted_accepts = 5;
    make(options);
    Socket& listener = engine().listener();
    engine().post(listener, OperationKind::accept_each);
    engine().settle();
    script.deaf_to_cancels = true;  // only the close of the socket ends them
    engine().close(listener);
    ASSERT_TRUE(engine().run_until([&] { return engine().is_closed(listener); }));
    EXPECT_EQ(engine().view().internal, 5 * sizeof(AcceptAddresses));
    ASSERT_TRUE(engine().run_until([&] { return engine().view().internal == 0; }));
}

// The backend's destructor waits for the last accepts, so that no handle is left.
TEST_F(WinsockSeam, ABackendThatGoesWaitsForItsLastAccepts) {
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

TEST_F(WinsockSeam, ADisconnectSaysWhetherTheSocketIsUsedAgain) {
    for (const bool reuse : {false, true}) {
        const auto [one, other] = engine().pair();
        script.disconnects = 0;
        const Op& op = engine().post(*one, OperationKind::disconnect, {}, {.reuse = reuse});
        engine().close(*other);
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_TRUE(op.succeeded());
        EXPECT_EQ(script.disconnects, 1);
        EXPECT_EQ(script.disconnect_flags, reuse ? static_cast<DWORD>(TF_REUSE_SOCKET) : 0U);
        EXPECT_EQ(one->connected, !reuse);
        EXPECT_EQ(port().figures().counts().late, 0U);
        if (reuse) {
            Socket& listener = engine().listener();
            script.connects = 0;
            const Op& again = engine().connect(*one, engine().name_of(listener));
            ASSERT_TRUE(engine().finish_one(again));
            EXPECT_EQ(script.connects, 1);
            EXPECT_EQ(script.connected, static_cast<SOCKET>(one->handle));
            // Wine 8.0 refuses the second connect with WSAEISCONN, which ends no socket.
            EXPECT_TRUE(again.succeeded() || again.error.code == WSAEISCONN);
            EXPECT_EQ(one->state, SocketState::open);
        }
    }
}

TEST_F(WinsockSeam, ADisconnectWhosePacketIsSkippedCompletesOnce) {
    script.disconnects_quietly = true;
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*one, OperationKind::disconnect);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

TEST_F(WinsockSeam, ADisconnectWhosePacketComesCompletesOnce) {
    make({}, false);
    const auto [one, other] = engine().pair();
    const Op& op = engine().post(*one, OperationKind::disconnect, {}, {.reuse = true});
    engine().close(*other);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded());
    engine().settle();
    EXPECT_EQ(port().figures().counts().late, 0U);
}

// A file may be lost with the thread that posted it, and the system does not report how much was
// sent. So the send fails, and no other may follow.
TEST_F(WinsockSeam, AFileThatIsLostWithItsThreadEndsTheSocket) {
    make({}, false);
    const auto [one, other] = engine().pair();
    const Handle file = platform::make_file(Bytes(100, std::byte{4}));
    script.lose_files = 1;
    const Op& op = engine().send_file(*one, file, 0, 100);
    platform::close_file(file);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.code, WSAECONNABORTED);
    EXPECT_TRUE(engine().run_until([&, at = one] { return engine().is_closed(*at); }));
    EXPECT_EQ(port().figures().counts().late, 0U);
    (void)other;
}

// ICMP's answer to an earlier datagram ends one receive with a refusal, as on every system. It ends
// neither the socket nor the next receive.
TEST_F(WinsockSeam, ARefusedDatagramIsToldAndReceivingGoesOn) {
    Socket& one = engine().bound(SOCK_DGRAM);
    Socket& other = engine().bound(SOCK_DGRAM);
    ASSERT_TRUE(engine().finish_one(engine().connect(one, engine().name_of(other))));
    script.code = WSAECONNRESET;  // Windows' code for it
    for (int i = 0; i < 3; ++i) {
        script.fail_receives = 1;
        const Op& told = engine().receive(other, 100);
        ASSERT_TRUE(engine().finish_one(told));
        EXPECT_EQ(told.error.code, WSAECONNREFUSED);
        EXPECT_EQ(told.error.fault, Fault::system);
        EXPECT_EQ(other.state, SocketState::open);
        const Op& next = engine().receive(other, 100);
        engine().send(one, Bytes(7, std::byte{3}));
        ASSERT_TRUE(engine().finish_one(next));
        EXPECT_TRUE(next.succeeded());
        EXPECT_EQ(next.transferred, 7U);
    }
    EXPECT_EQ(engine().charged(), 0U);
}

}  // namespace
}  // namespace iocp::contract

#endif
