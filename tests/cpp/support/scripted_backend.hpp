#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "backend/families.hpp"
#include "backend_without_names.hpp"

namespace iocp::scripted {

// The error numbers of the scripted backend, one for each class of errors that the core
// distinguishes.
inline constexpr int code_fatal = 9001;
inline constexpr int code_plain = 9002;
inline constexpr int code_exhausted = 9003;
inline constexpr int code_cancelled = 9004;

inline constexpr int code_queue_full = 9005;
inline constexpr int code_send_ended = 9006;  // fatal, but it ends only sending
inline constexpr int flag_fill = 77;          // this backend's MSG_WAITALL

inline StartResult done(std::int64_t bytes) { return {Start::done, bytes, no_handle}; }
inline StartResult pending() { return {}; }
inline StartResult failed(int code) { return {Start::failed, code, no_handle}; }
inline StartResult connection(Handle handle) { return {Start::done, 0, handle}; }

// The results that a test scripts for the calls on one handle, oldest first. Without a scripted
// result a call acts as if it would block.
struct Script {
    std::deque<StartResult> attempts;
    std::deque<StartResult> starts;
    std::deque<StartResult> reads;
    bool drained{true};  // the result of drained()
};

// One request that the scripted kernel holds or has held.
struct Request {
    SlotId operation;
    Handle handle{no_handle};
    OperationKind kind{OperationKind::receive};
    bool sending{false};
    bool readiness_only{false};
    unsigned count{1};
    std::size_t bytes{0};
    unsigned cancels{0};
};

struct Call {
    std::string name;
    Handle handle{no_handle};
};

// A backend that gives scripted answers and logs its calls. It reports every breach of the
// interface by the core as a test failure: two requests in one direction of a socket, a close with
// a request in the kernel, a call on a closed handle, a wait that nothing could end.
class ScriptedBackend final : public BackendWithoutNames {
public:
    Capabilities capable;
    std::int64_t time{1'000'000'000};
    bool sends_direct{true};
    bool answers_cancels{true};   // wait() answers cancels, with code_cancelled
    bool answers_at_once{false};  // take_cancelled() answers every cancel
    int withdraw_error{0};
    int swallows{0};            // the result of swallowed_error()
    std::uint64_t taken{0};     // the result of bytes_taken()
    std::int64_t unread{0};     // the result of available()
    bool out_of_memory{false};  // available() throws std::bad_alloc
    int next_open_error{0};
    int next_describe_error{0};
    std::uint32_t locked_pages{0};
    Nagle nagle_says{Nagle::off};
    // Runs once inside wait(), without the port's lock, and does what another thread might do.
    std::function<void()> on_wait;
    std::function<void(const Operation&)> on_start;
    std::function<void()> on_reap;  // runs once inside reap(), with the lock
    std::vector<Call> calls;
    std::vector<Request> started;  // every request so far
    std::vector<std::int64_t> waits;
    std::vector<std::size_t> read_sizes;

    Script& on(const Socket& socket) { return scripts_[socket.handle]; }
    Script& on(Handle handle) { return scripts_[handle]; }

    Handle make_handle(bool stream = true) {
        const Handle handle = next_handle_++;
        streams_[handle] = stream;
        open_.push_back(handle);
        return handle;
    }
    [[nodiscard]] bool is_open(Handle handle) const {
        return std::find(open_.begin(), open_.end(), handle) != open_.end();
    }
    [[nodiscard]] std::size_t open_handles() const { return open_.size(); }
    [[nodiscard]] const std::vector<Request>& held() const { return held_; }
    [[nodiscard]] const Request* request_of(SlotId id) const {
        for (const Request& request : held_) {
            if (request.operation.packed() == id.packed()) {
                return &request;
            }
        }
        return nullptr;
    }
    [[nodiscard]] std::vector<std::string> calls_on(Handle handle) const {
        std::vector<std::string> names;
        for (const Call& call : calls) {
            if (call.handle == handle) {
                names.push_back(call.name);
            }
        }
        return names;
    }
    [[nodiscard]] std::size_t count(std::string_view name) const {
        return static_cast<std::size_t>(std::count_if(
            calls.begin(), calls.end(), [&](const Call& call) { return call.name == name; }));
    }

    // Adds a packet to those of the next reap(). The packet ends its request unless `more` is set.
    // A packet without a request in the kernel is delivered as well.
    void deliver(Packet packet) {
        if (!packet.more) {
            std::erase_if(held_, [&](const Request& request) {
                return request.operation.packed() == packet.operation.packed();
            });
        }
        coming_.push_back(std::move(packet));
    }
    void deliver(SlotId operation, std::int64_t result, bool more = false) {
        Packet packet;
        packet.operation = operation;
        packet.result = result;
        packet.more = more;
        deliver(std::move(packet));
    }
    void deliver_ready(SlotId operation, bool more = false) {
        Packet packet;
        packet.operation = operation;
        packet.ready = true;
        packet.more = more;
        deliver(std::move(packet));
    }
    // deliver_transferred() and deliver_released() deliver the two steps of a direct send.
    void deliver_transferred(SlotId operation, std::int64_t result) {
        Packet packet;
        packet.operation = operation;
        packet.result = result;
        packet.phase = Phase::transferred;
        deliver(std::move(packet));
    }
    void deliver_released(SlotId operation) {
        Packet packet;
        packet.operation = operation;
        packet.phase = Phase::released;
        deliver(std::move(packet));
    }
    void deliver_slice(SlotId operation, Slice slice, bool more) {
        Packet packet;
        packet.operation = operation;
        packet.result = static_cast<std::int64_t>(slice.length());
        packet.slice = std::move(slice);
        packet.more = more;
        deliver(std::move(packet));
    }
    // Answers every cancel that the kernel has not answered yet: ends its request with
    // code_cancelled.
    void answer_cancels() {
        std::vector<SlotId> asked;
        for (const Request& request : held_) {
            if (request.cancels != 0) {
                asked.push_back(request.operation);
            }
        }
        for (const SlotId id : asked) {
            deliver(id, -code_cancelled);
        }
    }

    // Ends all requests without a packet, as io_uring does when the issuing thread ends. The next
    // took_over() returns true.
    void lose_requests() {
        held_.clear();
        took_over_ = true;
    }

    [[nodiscard]] std::string_view name() const noexcept override { return "scripted"; }
    [[nodiscard]] Capabilities capabilities() const noexcept override { return capable; }

    int open(int /*family*/, int type, int /*protocol*/, Handle& out) override {
        if (next_open_error != 0) {
            return std::exchange(next_open_error, 0);
        }
        out = make_handle(type == type_stream);
        return 0;
    }
    int describe(Handle handle, Socket& out) override {
        if (next_describe_error != 0) {
            return std::exchange(next_describe_error, 0);
        }
        out.stream = streams_.at(handle);
        out.connected = true;
        return 0;
    }
    [[nodiscard]] Nagle nagle(const Socket& socket) noexcept override {
        record("nagle", socket.handle);
        return nagle_says;
    }
    int shutdown(Socket& socket, bool receiving, bool sending) override {
        record(std::string("shutdown:") + (receiving ? "r" : "") + (sending ? "w" : ""),
               socket.handle);
        return 0;
    }
    void reset_on_close(Socket& socket) override { record("reset", socket.handle); }
    void detach(Socket& socket) override {
        record("detach", socket.handle);
        expect_released(socket);
    }
    void close(Socket& socket) override {
        record("close", socket.handle);
        expect_released(socket);
        EXPECT_TRUE(is_open(socket.handle)) << "a handle is closed once";
        std::erase(open_, socket.handle);
    }

    [[nodiscard]] bool waits_for_all(std::int32_t flags) const noexcept override {
        return flags == flag_fill;
    }
    StartResult attempt(Operation& op, unsigned /*count*/) override {
        record("attempt:" + kind_name(op.kind), op.socket->handle);
        expect_open(*op.socket);
        return next(on(*op.socket).attempts, pending());
    }
    StartResult start(Operation& op, unsigned count) override {
        const Socket& socket = *op.socket;
        Request request;
        request.operation = op.id;
        request.handle = socket.handle;
        request.kind = op.kind;
        request.sending = op.sending();
        request.readiness_only = op.readiness_only;
        request.count = count;
        const Operation* at = &op;
        for (unsigned i = 0; i < count && at != nullptr; ++i, at = at->next) {
            request.bytes += at->remaining();
            EXPECT_FALSE(at->held) << "what the budget holds back never reaches the kernel";
            EXPECT_FALSE(at->finished());
        }
        record("start:" + kind_name(op.kind) + (count != 1 ? "*" + std::to_string(count) : "") +
                   (op.readiness_only ? "?" : ""),
               socket.handle);
        expect_open(socket);
        for (const Request& other : held_) {
            EXPECT_FALSE(other.handle == request.handle && other.sending == request.sending)
                << "one request per direction";
        }
        started.push_back(request);
        if (on_start) {
            on_start(op);
        }
        const StartResult result = next(on(socket).starts, pending());
        if (Message* message = op.message(); message != nullptr && result.accepted != no_handle) {
            message->address.length = peer_length;
        }
        if (result.start == Start::pending) {
            held_.push_back(request);
        }
        return result;
    }
    void cancel(Operation& op) override {
        record("cancel:" + kind_name(op.kind), op.socket->handle);
        bool known = false;
        for (Request& request : held_) {
            if (request.operation.packed() == op.id.packed()) {
                ++request.cancels;
                known = true;
            }
        }
        const bool answered = std::any_of(coming_.begin(), coming_.end(),
                                          [&](const Packet& packet) {
                                              return packet.operation.packed() == op.id.packed();
                                          }) ||
                              std::any_of(taken_.begin(), taken_.end(),
                                          [&](SlotId id) { return id.packed() == op.id.packed(); });
        EXPECT_TRUE(known || answered) << "a cancel names a request of the kernel";
    }
    void take_cancelled(std::vector<Packet>& out) override {
        if (answers_at_once) {
            answer_cancels();
            reap(out);
        }
    }
    int withdraw(Operation& op) override {
        record("withdraw", op.socket->handle);
        return withdraw_error;
    }
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override {
        record("read", socket.handle);
        read_sizes.push_back(length);
        expect_open(socket);
        const StartResult result = next(on(socket).reads, pending());
        if (result.start == Start::done) {
            EXPECT_LE(static_cast<std::size_t>(result.value), length);
            for (std::int64_t i = 0; i < result.value; ++i) {
                data[i] = static_cast<std::byte>(next_byte_++);
            }
        }
        return result;
    }
    bool send_direct(Socket& socket, bool on) override {
        record(on ? "direct" : "buffered", socket.handle);
        return sends_direct;
    }
    bool drained(Socket& socket) noexcept override { return scripts_[socket.handle].drained; }
    int swallowed_error(const Socket& /*socket*/) noexcept override { return swallows; }
    std::int64_t available(Socket& socket) override {
        if (out_of_memory) {
            throw std::bad_alloc();
        }
        record("available", socket.handle);
        return unread;
    }
    [[nodiscard]] std::uint64_t bytes_taken(const Socket& /*socket*/) noexcept override {
        return taken;
    }

    Error claim() override { return claimable ? Error{} : runs_elsewhere; }
    bool took_over() noexcept override { return std::exchange(took_over_, false); }
    void publish() override { record("publish", no_handle); }
    void wait(std::int64_t timeout_ns) override {
        waits.push_back(timeout_ns);
        if (answers_cancels) {
            answer_cancels();
        }
        if (on_wait) {
            std::exchange(on_wait, nullptr)();
        }
        if (!coming_.empty() || woken_.exchange(false) || timeout_ns == 0) {
            return;
        }
        if (timeout_ns < 0) {
            ADD_FAILURE() << "a wait without a timeout, which nothing would end";
            return;
        }
        time += timeout_ns;
    }
    void reap(std::vector<Packet>& out) override {
        if (on_reap) {
            std::exchange(on_reap, nullptr)();
        }
        taken_.clear();
        for (Packet& packet : coming_) {
            taken_.push_back(packet.operation);
            out.push_back(std::move(packet));
        }
        coming_.clear();
    }
    void wake() noexcept override {
        woken_ = true;
        ++wakes;
    }
    [[nodiscard]] std::int64_t now() const noexcept override { return time; }

    [[nodiscard]] std::uint32_t kernel_locked(const Operation& /*op*/) const noexcept override {
        return locked_pages;
    }
    [[nodiscard]] bool fatal(const Operation& /*op*/, int code) const noexcept override {
        return code == code_fatal || code == code_send_ended;
    }
    [[nodiscard]] bool ends_sending(int code) const noexcept override {
        return code == code_send_ended;
    }
    [[nodiscard]] bool queue_full(const Operation& /*op*/, int code) const noexcept override {
        return code == code_queue_full;
    }
    [[nodiscard]] bool exhausted(int code) const noexcept override {
        return code == code_exhausted;
    }
    [[nodiscard]] std::int64_t cancel_code() const noexcept override { return -code_cancelled; }
    [[nodiscard]] int memory_code() const noexcept override { return code_exhausted; }
    [[nodiscard]] bool cancelled(int code) const noexcept override {
        return code == code_cancelled;
    }

    std::uint32_t peer_length{16};  // of the addresses of accepted connections
    bool claimable{true};
    std::atomic<int> wakes{0};

private:
    static std::string kind_name(OperationKind kind) {
        switch (kind) {
            case OperationKind::receive:
                return "receive";
            case OperationKind::zero_byte:
                return "zero_byte";
            case OperationKind::send:
                return "send";
            case OperationKind::connect:
                return "connect";
            case OperationKind::accept:
                return "accept";
            case OperationKind::writable:
                return "writable";
            case OperationKind::disconnect:
                return "disconnect";
            case OperationKind::receive_each:
                return "receive_each";
            case OperationKind::accept_each:
                return "accept_each";
        }
        return "?";
    }
    static StartResult next(std::deque<StartResult>& answers, StartResult otherwise) {
        if (answers.empty()) {
            return otherwise;
        }
        const StartResult answer = answers.front();
        answers.pop_front();
        return answer;
    }
    void record(std::string name, Handle handle) { calls.push_back({std::move(name), handle}); }
    void expect_open(const Socket& socket) const {
        EXPECT_TRUE(is_open(socket.handle)) << "a closed handle is never used";
    }
    void expect_released(const Socket& socket) const {
        for (const Request& request : held_) {
            EXPECT_NE(request.handle, socket.handle)
                << "no request of a socket is in the kernel when its handle goes";
        }
    }

    std::map<Handle, Script> scripts_;
    std::map<Handle, bool> streams_;
    std::vector<Handle> open_;
    std::vector<Request> held_;
    std::vector<Packet> coming_;
    std::vector<SlotId> taken_;  // the operations of the last reap's packets
    std::atomic<bool> woken_{false};
    Handle next_handle_{100};
    unsigned next_byte_{0};
    bool took_over_{false};
};

}  // namespace iocp::scripted
