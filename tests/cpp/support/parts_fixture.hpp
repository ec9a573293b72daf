#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/process.hpp"
#include "core/parts.hpp"
#include "page_memory.hpp"
#include "scripted_backend.hpp"

namespace iocp::scripted {

// The parts of a port (core/parts.hpp) without the port. A test drives one of them, and checks the
// effects and records that it leaves. The effects are not applied.
class PartsTest : public ::testing::Test {
protected:
    void SetUp() override { make({}); }
    void make(const PortOptions& options) {
        release();
        options_ = options;
        pool_ = BufferPool::create(page(), options.region_size, options.region_limit);
        parts_ = std::make_unique<Parts>(options_, capabilities_, *pool_, backend);
    }
    void TearDown() override { release(); }

    Parts& parts() { return *parts_; }
    static std::size_t page() { return system_page_size(); }

    Socket& open_socket() {
        Socket* socket = nullptr;
        EXPECT_FALSE(parts().sockets.open(family_inet, type_stream, 0, socket));
        socket->connected = true;
        return *socket;
    }
    // Makes an operation. A receive or a send gets a buffer of whole pages.
    Operation& operation(Socket& socket, OperationKind kind, std::size_t pages = 1) {
        Operation* op = parts().queue.create(socket, kind);
        EXPECT_NE(op, nullptr);
        if (kind == OperationKind::receive || kind == OperationKind::send) {
            op->lease = {memory_.take(pages * page()), pages * page(), nullptr, nullptr};
        }
        return *op;
    }
    // Makes an operation as a post leaves it: accepted, and at the end of its lane.
    Operation& posted(Socket& socket, OperationKind kind, std::size_t pages = 1) {
        Operation& op = operation(socket, kind, pages);
        parts().queue.accept(op, Outcome::queued, -1);
        socket.lane_of(op).push(op);
        return op;
    }
    // Takes the effects off the worklist, and returns them by socket.
    std::vector<std::pair<Socket*, Effects>> effects() {
        std::vector<std::pair<Socket*, Effects>> found;
        while (!parts().work.empty()) {
            Socket& socket = parts().work.first();
            Effects all = 0;
            while (const Effects effect = Worklist::take_effect(socket)) {
                all = static_cast<Effects>(all | effect);
            }
            parts().work.drop_first();
            found.emplace_back(&socket, all);
        }
        return found;
    }
    // Takes the records off the completion queue, and returns their kinds.
    std::vector<Ready::What> records() {
        std::vector<Ready::What> found;
        for (const Ready& ready : parts().completions.records()) {
            found.push_back(ready.what);
        }
        parts().completions.records().clear();
        return found;
    }

    ScriptedBackend backend;

private:
    // Refunds every charge and closes every socket, as the end of a port does.
    void release() {
        if (parts_ == nullptr) {
            return;
        }
        parts_->completions.clear();
        parts_->operations.each([](Operation& op) { op.receipt.refund(); });
        EXPECT_EQ(parts_->ledger.now_pages(), 0U);
        parts_->socket_table.each([this](Socket& socket) {
            if (socket.handle != no_handle && socket.state != SocketState::free) {
                backend.close(socket);
            }
        });
        parts_.reset();
        EXPECT_EQ(pool_->blocks_out(), 0U);
        std::exchange(pool_, nullptr)->close();
    }

    PortOptions options_;
    Capabilities capabilities_;
    BufferPool* pool_{nullptr};
    std::unique_ptr<Parts> parts_;
    PageMemory memory_;
};

}  // namespace iocp::scripted
