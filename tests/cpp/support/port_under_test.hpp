#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "base/process.hpp"
#include "core/port.hpp"

// The common parts of the fixtures that post to a port and hand its records out.
namespace iocp::support {

// Claims an accepted connection as the application does, so that its end is handed out.
// Precondition: the port is locked.
inline Socket* claimed(Port& port, Socket* accepted) {
    if (accepted != nullptr) {
        port.sockets().claim(*accepted);
    }
    return accepted;
}

// One post and its results. The posting thread writes them until the post returns, and the thread
// that runs the port after the completion.
struct Post {
    SlotId id;
    Operation* core{nullptr};  // null if the post was refused, or retired the operation
    Socket* socket{nullptr};
    bool accepted{false};
    Error refusal;  // the error of the post
    Outcome outcome{Outcome::pending};
    std::uint32_t sequence{0};
    bool silent{false};  // finished by its post, without a completion (skip_done)

    std::atomic<int> completions{0};
    std::size_t transferred{0};
    std::int32_t answer{0};  // the MSG_* flags that a receive reported
    Error error;             // the error of the completion
    Socket* connection{nullptr};
    int ends{0};  // number of ends of stream delivered to a subscription
    std::vector<Socket*> connections;
    int leases_given_back{0};

    // Returns a lease of the memory. Its return is counted in leases_given_back.
    [[nodiscard]] Lease lease(std::byte* data, std::size_t length) {
        return {data, length, this,
                [](void* owner) { ++static_cast<Post*>(owner)->leases_given_back; }};
    }
    // Takes the outcome of the post. Ends an operation that was refused, or that finished without a
    // completion to come. Precondition: the port is locked.
    void take_outcome(Port& port, Operation& op, Error refused) {
        refusal = refused;
        if (refusal) {
            op.lease.give_back();
            port.operations().discard(op);
            return;
        }
        accepted = true;
        outcome = op.outcome;
        sequence = op.sequence;
        silent = op.silent;
        if (!silent) {
            core = &op;
            return;
        }
        EXPECT_TRUE(op.finished());
        EXPECT_EQ(op.outcome, Outcome::done);
        connection = claimed(port, op.accepted);
        take_result(op);
        port.operations().retire(op);
    }
    // Takes the result of a finished operation, and gives its lease back.
    void take_result(Operation& op) {
        transferred = op.transferred;
        answer = op.answer;
        error = op.error;
        op.lease.give_back();
    }
};

// Expects that each accepted post had exactly one completion, or none if it is silent, and that
// every lease was given back once.
template <class Posts>
void expect_completed_once(const Posts& posts) {
    for (const Post& post : posts) {
        EXPECT_EQ(post.completions, post.accepted && !post.silent ? 1 : 0)
            << "exactly one completion for each accepted post";
        EXPECT_EQ(post.leases_given_back, 1) << "each lease is given back once";
    }
}

// Expects that no operation and no socket is left at the port.
inline void expect_empty(Port& port) {
    const std::lock_guard lock(port.mutex());
    EXPECT_EQ(port.operations().outstanding(), 0U);
    EXPECT_EQ(port.figures().ledger().now, 0U);
    EXPECT_EQ(port.operations().table().free(), port.operations().table().capacity());
    EXPECT_EQ(port.sockets().table().free(), port.sockets().table().capacity());
}

// The operations and sockets whose last record was handed out, and whose slots the port gets back.
struct HandedOut {
    std::vector<Operation*> operations;
    std::vector<Socket*> sockets;

    // Gives the slots back to the port. Precondition: the port is locked.
    void retire(Port& port) const {
        for (Operation* op : operations) {
            port.operations().retire(*op);
        }
        for (Socket* socket : sockets) {
            port.sockets().retire(*socket);
        }
    }
};

// A port with its buffer pool. Collects the ready records without a Post: posted packets, and the
// requests to pause or resume sends.
class PortUnderTest {
public:
    Port& port() { return *port_; }
    BufferPool& pool() { return *pool_; }

    // Calls body() with the port locked, and counts its allocations.
    template <class Body>
    auto locked(Body&& body) {
        const std::lock_guard lock(port_->mutex());
        const allocations::Counted counted;
        return body();
    }
    [[nodiscard]] LedgerView view() {
        return locked([&] { return port_->figures().ledger(); });
    }
    [[nodiscard]] std::uint64_t charged() { return view().now; }

    std::vector<void*> packets;
    std::vector<std::pair<Socket*, bool>> flow;  // true: asked to pause; false: to go on

protected:
    PortUnderTest() = default;
    ~PortUnderTest() = default;
    PortUnderTest(const PortUnderTest&) = delete;
    PortUnderTest& operator=(const PortUnderTest&) = delete;

    void make_pool(const PortOptions& options) {
        pool_ = BufferPool::create(system_page_size(), options.region_size, options.region_limit);
    }
    // Destroys the port, which must have no operation and no socket left.
    void release() {
        locked([&] { port_->release_backend(); });
        port_.reset();
        EXPECT_EQ(pool_->blocks_out(), 0U);
        release_pool();
    }
    void release_pool() {
        if (pool_ != nullptr) {
            std::exchange(pool_, nullptr)->close();
        }
    }

    BufferPool* pool_{nullptr};
    std::unique_ptr<Port> port_;
};

}  // namespace iocp::support
