#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backend/windows/iocp_backend.hpp"
#include "engine.hpp"

namespace iocp::contract {

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
extern Script script;
// The system's own table.
extern Winsock real;

// Returns the system's table with the calls that follow the script. Without `skips` a request that
// finishes at once has a packet.
Winsock scripted_table(bool skips);

// The Windows backend on a Winsock that refuses. The table of Winsock's calls injects results that
// the system here never gives. Everything above the table is the real code.
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
