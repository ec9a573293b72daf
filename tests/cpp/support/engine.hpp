#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "backend/address_text.hpp"
#include "backend/families.hpp"
#include "backend/sent_file.hpp"
#include "core/port.hpp"
#include "platform.hpp"
#include "port_under_test.hpp"

namespace iocp::contract {

using Bytes = std::vector<std::byte>;

// One post to the port of an Engine, and all its results.
struct Op : support::Post {
    OperationKind kind{OperationKind::receive};
    Bytes memory;
    std::vector<ConstBytes> parts;
    std::unique_ptr<Message> message;  // if set, the post is a message made of `parts`
    Address address;

    Bytes received;  // the data delivered to a subscription
    std::size_t messages{0};
    std::vector<std::pair<Bytes, Address>> datagrams;  // the subscription's, with their senders
    std::vector<Error> errors;                         // of a subscription's items
    std::size_t accept_errors{0};
    bool may_fail_accepts{false};
    std::function<void(Op&)> then;                   // runs at the completion, without the lock
    std::function<void(Op&, const Slice&)> on_data;  // gets the data instead of `received`
    std::function<void(Op&, Socket&)> on_connection;

    [[nodiscard]] bool finished() const { return silent || completions.load() != 0; }
    [[nodiscard]] bool succeeded() const { return finished() && completions.load() <= 1 && !error; }
};

struct What {
    std::int64_t timeout{-1};
    bool batched{false};
    ReceiveStrategy strategy{ReceiveStrategy::pooled};
    std::uint32_t block_size{4096};
    int flags{0};
    bool reuse{false};
    Lease file{};
};

// A port on a backend or on the model, run by the thread that made it. The destructor closes the
// port, and checks that no operation, socket or descriptor is left.
class Engine : public support::PortUnderTest {
public:
    Engine(const std::string& name, PortOptions options)
        : options_(options), descriptors_(platform::open_descriptors()) {
        try {
            const allocations::Counted counted;
            make_pool(options);
            auto backend = make_backend(name, *pool_, options.backend, reason_);
            if (backend != nullptr) {
                port_ = std::make_unique<Port>(options, *pool_, std::move(backend));
            }
        } catch (const std::bad_alloc&) {
            reason_ = {"no memory", 0, true};
        }
    }
    // `descriptors` is the number of descriptors that were open before the backend was made.
    Engine(std::unique_ptr<Backend> backend, PortOptions options, std::size_t descriptors)
        : options_(options), descriptors_(descriptors) {
        make_pool(options);
        port_ = std::make_unique<Port>(options, *pool_, std::move(backend));
    }
    ~Engine() { finish(); }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    [[nodiscard]] bool usable() const { return port_ != nullptr; }
    [[nodiscard]] const std::string& reason() const { return reason_.text; }
    [[nodiscard]] const PortOptions& options() const { return options_; }

    // Posts an operation. Any thread may call it.
    Op& post(Socket& socket, OperationKind kind, Bytes memory = {}, What what = {},
             const std::function<void(Op&)>& prepare = {}) {
        const std::lock_guard lock(port_->mutex());
        Op& op = ops_.emplace_back();
        op.socket = &socket;
        op.kind = kind;
        op.memory = std::move(memory);
        if (prepare) {
            prepare(op);
        }
        Operation* core =
            allocations::counted([&] { return port_->operations().create(socket, kind); });
        if (core == nullptr) {
            op.refusal = Error::of(Fault::resource, "no memory for an operation");
            op.leases_given_back = 1;
            what.file.give_back();
            return op;
        }
        if (what.file.release != nullptr) {
            core->lease = what.file;
            core->from_file = true;
            op.leases_given_back = 1;  // the count of descriptors shows a leaked file
        } else if (kind == OperationKind::connect) {
            core->lease = op.lease(reinterpret_cast<std::byte*>(&op.address), sizeof op.address);
        } else if (!op.parts.empty()) {
            std::size_t total = 0;
            for (const ConstBytes& part : op.parts) {
                total += part.length;
            }
            core->lease = op.lease(reinterpret_cast<std::byte*>(op.parts.data()), total);
            core->slices = static_cast<std::uint16_t>(op.parts.size());
            if (op.message != nullptr) {
                op.message->parts = op.parts.data();
                core->lease.data = reinterpret_cast<std::byte*>(op.message.get());
                core->is_message = true;
            }
        } else if (core->subscription()) {
            op.leases_given_back = 1;  // a subscription's buffers come from the pool
        } else {
            core->lease = op.lease(op.memory.data(), op.memory.size());
        }
        core->flags = what.flags;
        core->strategy = what.strategy;
        core->block_size = what.block_size;
        core->batched = what.batched;
        core->reuse = what.reuse;
        core->user = &op;
        op.id = core->id;
        const Error refused =
            allocations::counted([&] { return port_->operations().submit(*core, what.timeout); });
        op.take_outcome(*port_, *core, refused);
        return op;
    }
    Op& receive(Socket& socket, std::size_t bytes, What what = {}) {
        return post(socket, OperationKind::receive, Bytes(bytes), what);
    }
    Op& send(Socket& socket, Bytes bytes, What what = {}) {
        return post(socket, OperationKind::send, std::move(bytes), what);
    }
    // Sends up to `count` bytes of the file from `offset` on.
    Op& send_file(Socket& socket, Handle file, std::uint64_t offset, std::size_t count,
                  What what = {}) {
        std::unique_ptr<SentFile> sent;
        EXPECT_EQ(SentFile::duplicate(file, sent), 0);
        sent->offset = offset;
        what.file = SentFile::lease(std::move(sent), count);
        return post(socket, OperationKind::send, {}, what);
    }
    Op& subscribe(Socket& socket, ReceiveStrategy strategy,
                  const std::function<void(Op&)>& prepare = {}) {
        return post(socket, OperationKind::receive_each, {}, {.strategy = strategy}, prepare);
    }
    // Cancels the operation by its id (SlotId), which any thread may do at any time. Returns false
    // if the operation has finished already.
    bool cancel(const Op& op) {
        return locked([&] {
            Operation* core = port_->operations().find(op.id);
            return core != nullptr && port_->operations().cancel(*core);
        });
    }
    void close(Socket& socket, std::int64_t timeout = 0) {
        locked([&] { port_->sockets().close(socket, timeout); });
    }
    void abort(Socket& socket) {
        locked([&] { port_->sockets().abort(socket); });
    }
    void shutdown_sending(Socket& socket) {
        EXPECT_FALSE(locked([&] { return port_->sockets().shutdown(socket, false, true); }));
    }

    // Makes turns until done() is true, in the thread that runs the port. The watchdog only ends a
    // test that would hang.
    bool run_until(const std::function<bool()>& done) {
        const auto watchdog = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!done()) {
            constexpr std::int64_t slice = 100'000'000;
            const Error error = turn(port_->now() + slice);
            if (error && error.fault != Fault::resource) {  // a turn without memory loses nothing
                ADD_FAILURE() << "poll: " << (error.text != nullptr ? error.text : "?");
                return false;
            }
            if (std::chrono::steady_clock::now() > watchdog) {
                ADD_FAILURE() << "the condition did not hold within 60 s";
                return false;
            }
        }
        return true;
    }
    bool finish_all(const std::vector<Op*>& ops) {
        for (const Op* op : ops) {
            EXPECT_TRUE(op->accepted) << "the post was refused with " << op->refusal.code;
        }
        return run_until([&] {
            return std::all_of(ops.begin(), ops.end(),
                               [](const Op* op) { return !op->accepted || op->finished(); });
        });
    }
    bool finish_one(const Op& op) {
        if (!op.accepted) {
            ADD_FAILURE() << "the post was refused: "
                          << (op.refusal.text != nullptr ? op.refusal.text : "system error ")
                          << op.refusal.code;
            return false;
        }
        return run_until([&] { return op.finished(); });
    }
    // Makes one step of a worker of a shared port: hands out a record, or waits once. Any thread
    // may call it with a worker of its own.
    Port::Next step(Worker& worker, std::int64_t deadline) {
        std::vector<Ready> inbox(1);
        Port::Next next = Port::Next::nothing;
        try {
            next = locked([&] { return port_->next(worker, inbox.front()); });
        } catch (const std::bad_alloc&) {
            return next;  // without memory no record is taken, so none is lost
        }
        if (next == Port::Next::record) {
            hand_out(inbox);
            locked([&] { port_->workers().handed_out(worker); });
        } else if (next == Port::Next::nothing) {
            (void)allocations::counted(
                [&] { return port_->wait_for_next(worker, deadline, 1'000'000'000, nullptr); });
        }
        return next;
    }
    Error turn(std::int64_t deadline) {
        if (port_->shared()) {
            while (step(worker_, deadline) == Port::Next::record) {
                deadline = port_->now();  // the next steps only take ready records
            }
            return {};
        }
        std::vector<Ready> inbox;
        const Error error = allocations::counted([&] { return port_->poll(deadline, inbox); });
        hand_out(inbox);
        return error;
    }
    // Makes turns that do not wait: enough for all results that are there already.
    void settle(int turns = 5) {
        for (int i = 0; i < turns; ++i) {
            const Error error = turn(port_->now());
            EXPECT_TRUE(!error || error.fault == Fault::resource);
        }
    }

    Socket& open(int type = type_stream) {
        Socket* socket = nullptr;
        EXPECT_FALSE(locked([&] { return port_->sockets().open(family_inet, type, 0, socket); }));
        return *socket;
    }
    Socket& adopt(Handle handle, bool nonblocking = false) {
        Socket* socket = nullptr;
        EXPECT_FALSE(locked([&] { return port_->sockets().adopt({handle, nonblocking}, socket); }));
        return *socket;
    }
    static Address loopback(std::uint16_t port = 0) {
        AddressText text;
        text.family = family_inet;
        text.host = "127.0.0.1";
        text.port = port;
        Address address;
        EXPECT_EQ(address_from_text(text, address).what, Resolution::What::found);
        return address;
    }
    Address name_of(Socket& socket) {
        Address name;
        EXPECT_EQ(locked([&] { return port_->backend().name_of(socket, false, name); }), 0);
        return name;
    }
    Socket& bound(int type = type_stream) {
        Socket& socket = open(type);
        locked([&] { EXPECT_EQ(port_->backend().bind(socket, loopback()), 0); });
        return socket;
    }
    Socket& listener(int backlog = 128) {
        Socket& socket = bound();
        locked([&] { EXPECT_EQ(port_->backend().listen(socket, backlog), 0); });
        return socket;
    }
    Op& connect(Socket& socket, const Address& address) {
        return post(socket, OperationKind::connect, {}, {}, [&](Op& op) { op.address = address; });
    }

    struct Pair {
        Socket* one;
        Socket* other;
    };
    // Makes a TCP connection over the loopback interface with operations of the port. `prepare`
    // gets the listener and the client before they are connected.
    Pair pair(const std::function<void(Socket&)>& prepare = {}) {
        if (shared_listener_ == nullptr) {
            shared_listener_ = &listener();
        }
        Socket& client = open();
        if (prepare) {
            prepare(*shared_listener_);
            prepare(client);
        }
        const Op& accept = post(*shared_listener_, OperationKind::accept);
        const Op& reach = connect(client, name_of(*shared_listener_));
        EXPECT_TRUE(run_until([&] { return accept.finished() && reach.finished(); }));
        EXPECT_TRUE(accept.succeeded());
        EXPECT_TRUE(reach.succeeded());
        return {&client, accept.connection};
    }
    // Adopts both ends of a connection that the system has made (socketpair(2), or a substitute).
    Pair adopted_pair() {
        Handle one = no_handle;
        Handle other = no_handle;
        EXPECT_TRUE(socket_pair(one, other));
        return {&adopt(one), &adopt(other)};
    }
    bool socket_pair(Handle& one, Handle& other) {
        const auto& world = options_.backend.world;
        return world != nullptr ? platform::socket_pair(*world, one, other)
                                : platform::socket_pair(one, other);
    }
    void set_option(Socket& socket, int option, int value) {
        locked([&] {
            EXPECT_EQ(port_->backend().set_option(socket, platform::level_socket, option, &value,
                                                  sizeof value),
                      0);
        });
    }

    // The ready records without a Post: fired timers and closed sockets.
    std::size_t timers{0};
    std::vector<std::pair<Socket*, Error>> closed;
    [[nodiscard]] bool is_closed(const Socket& socket) const {
        for (const auto& [one, failure] : closed) {
            if (one == &socket) {
                return true;
            }
        }
        return false;
    }

    void finish() {
        if (port_ == nullptr) {
            release_pool();
            return;
        }
        locked([&] { port_->begin_close(0); });
        run_until([&] { return port_->sockets().open_count() == 0; });
        EXPECT_TRUE(allocations::counted([&] { return port_->terminate(); }));
        settle(10);
        support::expect_empty(*port_);
        support::expect_completed_once(ops_);
        release();
        EXPECT_EQ(platform::open_descriptors(), descriptors_);
    }

private:
    Socket* claimed(Socket* accepted) {
        return accepted == nullptr ? nullptr
                                   : locked([&] { return support::claimed(*port_, accepted); });
    }

    void hand_out(std::vector<Ready>& inbox) {
        support::HandedOut out;
        for (Ready& ready : inbox) {
            auto* op = ready.op != nullptr ? static_cast<Op*>(ready.op->user) : nullptr;
            switch (ready.what) {
                case Ready::What::completed:
                    op->connection = claimed(ready.op->accepted);
                    op->take_result(*ready.op);
                    out.operations.push_back(ready.op);
                    ++op->completions;
                    if (op->then) {
                        op->then(*op);
                    }
                    break;
                case Ready::What::data:
                    if (ready.slice.length() == 0) {
                        ++op->ends;
                        break;
                    }
                    EXPECT_EQ(op->ends, 0);
                    ++op->messages;
                    if (op->on_data) {
                        op->on_data(*op, ready.slice);
                    } else {
                        op->received.insert(op->received.end(), ready.slice.data(),
                                            ready.slice.data() + ready.slice.length());
                    }
                    break;
                case Ready::What::datagram:
                    op->datagrams.emplace_back(
                        Bytes(ready.slice.data(), ready.slice.data() + ready.slice.length()),
                        datagram::sender_of(ready.slice));
                    break;
                case Ready::What::accepted:
                    op->connections.push_back(claimed(ready.accepted));
                    if (op->on_connection) {
                        op->on_connection(*op, *ready.accepted);
                    }
                    break;
                case Ready::What::item_error:
                    op->errors.push_back(ready.error);
                    if (op->kind == OperationKind::receive_each) {
                        break;
                    }
                    ++op->accept_errors;
                    if (!op->may_fail_accepts) {
                        ADD_FAILURE() << "accept failed with " << ready.error.code;
                    }
                    break;
                case Ready::What::closed: {
                    const std::lock_guard lock(told_);
                    closed.emplace_back(ready.socket, ready.socket->failure);
                    out.sockets.push_back(ready.socket);
                    break;
                }
                case Ready::What::pause_sends:
                case Ready::What::resume_sends:
                    flow.emplace_back(ready.socket, ready.what == Ready::What::pause_sends);
                    break;
                case Ready::What::ended:
                    ADD_FAILURE() << "no program of the contract keeps a descriptor open";
                    break;
                case Ready::What::resumed:
                    ADD_FAILURE() << "no test of the contract suite pauses a reader";
                    break;
                case Ready::What::timer:
                    ++timers;
                    delete ready.timer;
                    break;
                case Ready::What::packet: {
                    const std::lock_guard lock(told_);
                    packets.push_back(ready.user);
                    break;
                }
                case Ready::What::nagle_stall:
                    break;
            }
        }
        inbox.clear();
        const std::lock_guard lock(port_->mutex());
        out.retire(*port_);
    }

    const PortOptions options_;
    std::size_t descriptors_;
    BackendReason reason_;
    std::deque<Op> ops_;
    Socket* shared_listener_{nullptr};
    Worker worker_;    // of the thread that made the engine
    std::mutex told_;  // guards the results that several threads write
};

}  // namespace iocp::contract
