#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine.hpp"

// The shared parts of the contract suite, whose tests run on every backend: bytes that depend on
// their position, and the fixture.
namespace iocp::contract {

inline constexpr std::size_t mebibyte = std::size_t{1} << 20U;

inline Bytes text(const std::string& characters) {
    const auto* first = reinterpret_cast<const std::byte*>(characters.data());
    return {first, first + characters.size()};
}

// Makes bytes whose values depend on their position in the stream, so that a misplaced byte is
// noticed.
inline Bytes pattern(std::size_t length, std::size_t from = 0) {
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        const std::size_t at = from + i;
        bytes[i] = static_cast<std::byte>((at ^ (at >> 8U) ^ (at >> 16U)) & 0xffU);
    }
    return bytes;
}

inline Bytes taken(const Op& op) {
    return {op.memory.begin(), op.memory.begin() + static_cast<std::ptrdiff_t>(op.transferred)};
}

inline Bytes taken(const std::vector<Op*>& ops) {
    Bytes all;
    for (const Op* op : ops) {
        const Bytes part = taken(*op);
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

class Contract : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override { make({}); }
    void TearDown() override {
        engine_.reset();
        if (world_ != nullptr && !IsSkipped()) {
            platform::expect_nothing_left(*world_);
        }
    }

    void make(PortOptions options) {
        engine_.reset();
        world_ = platform::model(GetParam());
        options.backend.world = world_;
        engine_ = std::make_unique<Engine>(GetParam(), options);
        if (!engine_->usable()) {
            GTEST_SKIP() << GetParam() << ": " << engine_->reason();
        }
    }
    Engine& engine() { return *engine_; }
    Port& port() { return engine_->port(); }
    [[nodiscard]] bool modelled() const { return world_ != nullptr; }

    // Reads exactly `bytes` bytes with receives of at most `piece` bytes.
    Bytes read_exactly(Socket& socket, std::size_t bytes, std::size_t piece = 65536) {
        Bytes all;
        while (all.size() < bytes) {
            const Op& op = engine().receive(socket, std::min(piece, bytes - all.size()));
            if (!engine().finish_one(op) || op.error || op.transferred == 0) {
                ADD_FAILURE() << "the stream ended after " << all.size() << " bytes";
                break;
            }
            const Bytes part = taken(op);
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }
    bool wait_readable(Socket& socket) {
        return engine().finish_one(engine().post(socket, OperationKind::zero_byte));
    }
    // Sends until the next send would block. The send buffer gets a fixed size, because the system
    // would enlarge its own as acknowledgements arrive, and the buffer would not stay full.
    std::size_t fill(Socket& socket) {
        engine().set_option(socket, platform::option_send_buffer, 1 << 18);
        std::size_t sent = 0;
        const Bytes block(65536);
        for (;;) {
            std::int64_t went = 0;
            EXPECT_FALSE(engine().locked([&] {
                return port().operations().try_send(socket, block.data(), block.size(), went);
            }));
            if (went == 0) {
                return sent;
            }
            sent += static_cast<std::size_t>(went);
        }
    }
    // Calls body(number) in `threads` threads at once, and runs the port until all of them have
    // returned.
    bool run_with_threads(std::size_t threads, const std::function<void(std::size_t)>& body) {
        std::atomic<std::size_t> finished{0};
        std::vector<std::thread> workers;
        workers.reserve(threads);
        for (std::size_t number = 0; number < threads; ++number) {
            workers.emplace_back([&, number] {
                body(number);
                ++finished;
                engine().locked([&] { port().wake(); });
            });
        }
        const bool ran = engine().run_until([&] { return finished == threads; });
        for (std::thread& worker : workers) {
            worker.join();
        }
        return ran;
    }

private:
    std::shared_ptr<sim::World> world_;  // null on a real backend
    std::unique_ptr<Engine> engine_;
};

// Tests of features that the model lacks: files, and sockets that outlive their connection.
class Systems : public Contract {};

}  // namespace iocp::contract
