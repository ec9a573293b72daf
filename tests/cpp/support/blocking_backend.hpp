#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "backend_without_names.hpp"

namespace iocp::scripted {

// A backend whose wait() really blocks, for tests of threads. Its requests stay pending until
// deliver() ends them. Its clock is the system's, plus the time that advance() adds. Made as a
// model it never blocks: its clock is virtual, and a wait advances it by the timeout. Any thread
// may use the members that tests use.
class BlockingBackend final : public BackendWithoutNames {
public:
    explicit BlockingBackend(bool model) : model_(model) {}
    ~BlockingBackend() override {
        if (on_end) {
            on_end();
        }
    }

    std::function<void()> on_end;            // runs in the destructor
    std::atomic<bool> owned{false};          // only `owner` may claim the backend, as with a ring
    std::atomic<std::thread::id> owner{};    // the thread that may claim it, if `owned`
    std::atomic<bool> refuses_claim{false};  // the next claim() fails although claimable() is true
    std::function<void()> on_wait;           // runs once inside wait(), without the port's lock

    // Ends the operation's request with `result`, as the kernel would.
    void deliver(SlotId operation, std::int64_t result) {
        Packet packet;
        packet.operation = operation;
        packet.result = result;
        {
            const std::lock_guard lock(mutex_);
            coming_.push_back(std::move(packet));
        }
        wake();
    }
    void advance(std::int64_t nanoseconds) { skew_ += nanoseconds; }
    // Returns the timeout of each wait so far, in nanoseconds.
    [[nodiscard]] std::vector<std::int64_t> waits() const {
        const std::lock_guard lock(mutex_);
        return waits_;
    }
    // Returns whether a thread blocks in wait().
    [[nodiscard]] bool blocks() const {
        const std::lock_guard lock(mutex_);
        return blocked_ != 0;
    }

    [[nodiscard]] std::string_view name() const noexcept override { return "blocking"; }
    [[nodiscard]] Capabilities capabilities() const noexcept override {
        Capabilities found;
        found.virtual_time = model_;
        return found;
    }
    [[nodiscard]] std::int64_t now() const noexcept override {
        const auto real = std::chrono::steady_clock::now().time_since_epoch();
        return skew_.load() +
               (model_ ? 1'000'000
                       : std::chrono::duration_cast<std::chrono::nanoseconds>(real).count());
    }

    Error claim() override {
        return !claimable() || refuses_claim.exchange(false) ? runs_elsewhere : Error{};
    }
    [[nodiscard]] bool claimable() const noexcept override {
        return !owned || owner.load() == std::this_thread::get_id();
    }
    void publish() override {}
    void wait(std::int64_t timeout_ns) override {
        if (on_wait) {
            std::exchange(on_wait, nullptr)();
        }
        std::unique_lock lock(mutex_);
        waits_.push_back(timeout_ns);
        const auto woken = [this] { return woken_ || !coming_.empty(); };
        nothing_due_ = false;
        if (model_) {
            nothing_due_ = timeout_ns < 0 && !woken();
            skew_ += timeout_ns > 0 && !woken() ? timeout_ns : 0;
        } else {
            ++blocked_;
            if (timeout_ns < 0) {
                wakes_.wait(lock, woken);
            } else {
                (void)wakes_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), woken);
            }
            --blocked_;
        }
        woken_ = false;
    }
    void reap(std::vector<Packet>& out) override {
        const std::lock_guard lock(mutex_);
        for (Packet& packet : coming_) {
            out.push_back(std::move(packet));
        }
        coming_.clear();
    }
    void wake() noexcept override {
        const std::lock_guard lock(mutex_);
        woken_ = true;
        wakes_.notify_all();
    }
    [[nodiscard]] bool nothing_due() const noexcept override { return nothing_due_; }

    int open(int /*family*/, int /*type*/, int /*protocol*/, Handle& out) override {
        out = next_handle_++;
        return 0;
    }
    int describe(Handle /*handle*/, Socket& /*out*/) override { return 0; }
    int shutdown(Socket& /*socket*/, bool /*receiving*/, bool /*sending*/) override { return 0; }
    void reset_on_close(Socket& /*socket*/) override {}
    void detach(Socket& /*socket*/) override {}
    void close(Socket& /*socket*/) override {}
    std::int64_t available(Socket& /*socket*/) override { return 0; }
    [[nodiscard]] bool waits_for_all(std::int32_t /*flags*/) const noexcept override {
        return false;
    }
    StartResult attempt(Operation& /*op*/, unsigned /*count*/) override { return {}; }
    StartResult start(Operation& /*op*/, unsigned /*count*/) override { return {}; }
    void cancel(Operation& op) override { deliver(op.id, -code_cancelled); }
    StartResult read(Socket& /*socket*/, std::byte* /*data*/, std::size_t /*length*/) override {
        return {};
    }
    bool drained(Socket& /*socket*/) noexcept override { return true; }
    [[nodiscard]] std::uint32_t kernel_locked(const Operation& /*op*/) const noexcept override {
        return 0;
    }
    [[nodiscard]] bool fatal(const Operation& /*op*/, int /*code*/) const noexcept override {
        return false;
    }
    [[nodiscard]] bool ends_sending(int /*code*/) const noexcept override { return false; }
    [[nodiscard]] bool exhausted(int code) const noexcept override { return code == code_memory; }
    [[nodiscard]] std::int64_t cancel_code() const noexcept override { return -code_cancelled; }
    [[nodiscard]] int memory_code() const noexcept override { return code_memory; }
    [[nodiscard]] bool cancelled(int code) const noexcept override {
        return code == code_cancelled;
    }

private:
    static constexpr int code_cancelled = 9004;
    static constexpr int code_memory = 9003;

    const bool model_;
    std::atomic<std::int64_t> skew_{0};
    mutable std::mutex mutex_;
    std::condition_variable wakes_;
    std::vector<Packet> coming_;
    std::vector<std::int64_t> waits_;
    unsigned blocked_{0};
    bool woken_{false};
    bool nothing_due_{false};
    Handle next_handle_{100};
};

}  // namespace iocp::scripted
