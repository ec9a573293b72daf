#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backend/windows/iocp_backend.hpp"
#include "engine.hpp"

namespace iocp::contract {

// How the replaced calls of Winsock behave. The script is global, because a replaced call is a
// plain function without state.
struct Script {
    int fail_receives{0};  // how many of the next receives fail with `code`
    int empty_reads{0};    // how many of the next non-blocking receives find no data
    int cut_receives{0};   // how many of the next receives return WSAEMSGSIZE and queue a packet
    int fail_sends{0};
    int fail_sockets{0};
    int fail_accepts{0};
    int fail_contexts{0};
    int code{0};
    int accept_contexts{0};
    int connect_contexts{0};
    int cancels{0};
    bool deaf_to_cancels{false};
    int lose_cancels{0};  // how many of the next cancels have no effect
    int disconnects{0};
    DWORD disconnect_flags{0};
    // How many of the next TransmitFile calls get a packet that reports them as pending. Wine 8.0
    // queues such a packet when the thread that made the call ends.
    int lose_files{0};
    bool disconnects_quietly{false};  // DisconnectEx returns pending, and queues no packet
    int connects{0};
    SOCKET connected{INVALID_SOCKET};
    int receives{0};
    SOCKET context_of{INVALID_SOCKET};  // the listener in the last SO_UPDATE_ACCEPT_CONTEXT
};
extern Script script;
// The system's own table of Winsock's calls.
extern Winsock real;

// Returns the system's table, with replaced calls that follow the script. Without `skips`, a
// request that finishes at once still queues a packet.
Winsock scripted_table(bool skips);

// The Windows backend on a scripted Winsock. The replaced calls give results that the system of the
// tests never gives. Everything above the table of calls is the real code.
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
        const Winsock table = scripted_table(skips);
        const std::size_t descriptors = platform::open_descriptors();
        auto backend = IocpBackend::create(table, options.backend, reason);
        ASSERT_NE(backend, nullptr) << reason;
        engine_ = std::make_unique<Engine>(std::move(backend), options, descriptors);
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }

    std::unique_ptr<Engine> engine_;
};

}  // namespace iocp::contract
