#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "backend/families.hpp"
#include "base/process.hpp"
#include "blocking_backend.hpp"
#include "page_memory.hpp"
#include "run/calls.hpp"
#include "run/locked.hpp"
#include "run/turn.hpp"
#include "run/wait.hpp"

namespace iocp::run {

// A posted packet. Its hand-out runs the callback. A packet without a callback is a completion for
// get().
struct TestPacket {
    std::function<void()> callback;
};

// An operation, and the event that its end sets.
struct TestOperation {
    Operation* core{nullptr};  // null once the operation was handed out
    SlotId id;
    PortEvent* event{nullptr};
    std::atomic<bool> handed_out{false};
};

// A port on a blocking backend, which does what the port of the bindings does.
class TestPort final : public RunnablePort, public CompletionListener {
public:
    explicit TestPort(PortOptions options = {}, bool model = false) {
        options.backend.shared = options.concurrency != 0;
        pool_ = BufferPool::create(system_page_size(), options.region_size, options.region_limit);
        auto owned = std::make_unique<scripted::BlockingBackend>(model);
        backend_ = owned.get();
        core = std::make_unique<Port>(options, *pool_, std::move(owned));
        core->set_listener(*this);
    }
    ~TestPort() override {
        EXPECT_EQ(uses.load(), 0) << "each use is released";
        EXPECT_FALSE(waiters.any());
        EXPECT_FALSE(runner.contended());
        if (!closed) {
            EXPECT_TRUE(core->terminate());
            EXPECT_TRUE(runner.acquire(Purpose::run)) << "the port was released";
            std::vector<Ready> rest;
            const std::lock_guard lock(core->mutex());
            core->take_ready(rest);
            mark_closed();
        }
        core.reset();
        pool_->close();
    }

    void retain() noexcept override { ++uses; }
    void release() noexcept override { --uses; }
    PortWorker& worker_of_this_thread() override {
        const std::lock_guard lock(workers_mutex_);
        auto& worker = workers_[std::this_thread::get_id()];
        if (worker == nullptr) {
            worker = std::make_unique<PortWorker>();
        }
        return *worker;
    }
    void after_close() override {
        ++closes;
        if (on_close) {
            on_close();
        }
    }
    bool finished(Operation& op) noexcept override {
        const std::lock_guard lock(Event::mutex());
        waiters.notify_all_locked();
        const auto* operation = static_cast<TestOperation*>(op.user);
        if (operation->event == nullptr) {
            return false;
        }
        operation->event->finish_locked();
        return true;
    }

    scripted::BlockingBackend& backend() { return *backend_; }

    // Posts a packet whose hand-out runs `callback`. Without one, the packet is a completion for
    // get().
    void post(std::function<void()> callback = nullptr) {
        const std::lock_guard lock(core->mutex());
        TestPacket& packet = packets_.emplace_back(TestPacket{std::move(callback)});
        EXPECT_FALSE(core->operations().post_packet(&packet));
    }
    // Posts a receive that stays pending until finish(), and whose end sets `event`.
    TestOperation& receive(PortEvent* event = nullptr) {
        if (event != nullptr) {
            EXPECT_TRUE(event->reserve(*this));
        }
        const std::lock_guard lock(core->mutex());
        Socket* socket = nullptr;  // one for each receive: a lane has one request
        EXPECT_FALSE(core->sockets().open(family_inet, type_stream, 0, socket));
        TestOperation& made = operations_.emplace_back();
        made.event = event;
        made.core = core->operations().create(*socket, OperationKind::receive);
        made.core->lease = {memory_.take(system_page_size()), 16, nullptr, [](void*) {}};
        made.core->user = &made;
        made.core->notifies = event != nullptr;
        made.id = made.core->id;
        EXPECT_FALSE(core->operations().submit(*made.core));
        return made;
    }
    // Ends the request of a receive with one byte, as the kernel would.
    void finish(const TestOperation& operation) { backend_->deliver(operation.id, 1); }

    // Takes the notified completions and retires their operations, as the bindings do. Returns
    // their number.
    std::size_t hand_over(Host& host) {
        Operation* next = locked(host, *core, [this] { return core->take_notified(); });
        std::size_t count = 0;
        for (; next != nullptr; ++count) {
            Operation& op = *std::exchange(next, next->next_finished);
            auto& operation = *static_cast<TestOperation*>(op.user);
            operation.event->forget_port();
            op.lease.give_back();
            locked(host, *core, [&] {
                operation.core = nullptr;
                core->operations().retire_notified(op);
            });
            operation.handed_out = true;
        }
        return count;
    }
    void hand_out(Host& host, Ready& ready) {
        if (ready.what == Ready::What::completed) {
            auto& operation = *static_cast<TestOperation*>(ready.op->user);
            ready.op->lease.give_back();
            locked(host, *core, [&] {
                operation.core = nullptr;
                core->operations().retire(*ready.op);
            });
            operation.handed_out = true;
        } else if (ready.what == Ready::What::closed) {
            locked(host, *core, [&] { core->sockets().retire(*ready.socket); });
        } else if (auto* packet = static_cast<TestPacket*>(ready.user); packet->callback) {
            packet->callback();
        }
    }

    std::atomic<int> uses{0};
    std::atomic<int> closes{0};
    std::function<void()> on_close;

private:
    BufferPool* pool_{nullptr};
    scripted::BlockingBackend* backend_{nullptr};
    scripted::PageMemory memory_;
    std::list<TestPacket> packets_;        // the port's lock guards it
    std::list<TestOperation> operations_;  // the port's lock guards it
    std::mutex workers_mutex_;
    std::map<std::thread::id, std::unique_ptr<PortWorker>> workers_;
};

// The exception that a test's hook throws.
struct Raised {};

// A host whose hooks a test may extend. Completions without a callback are counted in `taken`, if
// it is set. They are reported as kept if `keeps` is set, and as dropped otherwise.
class TestHost final : public Host {
public:
    std::function<void()> on_detach;  // runs before the call that may block
    std::function<void()> on_signals;
    std::function<void()> on_dispatch;
    Taken* taken{nullptr};
    bool keeps{false};
    int detached{0};
    std::size_t handed_out{0};
    std::vector<std::size_t> inboxes;  // the size of each dispatched inbox

    void detach(Blocking call) override {
        ++detached;
        if (on_detach) {
            on_detach();
        }
        call();
    }
    void signals() override {
        if (on_signals) {
            on_signals();
        }
    }
    Dispatched dispatch(RunnablePort& port, Inbox& inbox) override {
        auto& test = static_cast<TestPort&>(port);
        Dispatched result;
        inboxes.push_back(inbox.size());
        result.count = test.hand_over(*this);
        if (on_dispatch) {
            on_dispatch();
        }
        while (!inbox.empty() && (taken == nullptr || !taken->full()) && !port.runner.gives_way()) {
            Ready ready = inbox.take();
            ++result.count;
            ++handed_out;
            if (ready.what == Ready::What::packet &&
                !static_cast<TestPacket*>(ready.user)->callback) {
                result.kept = keeps;
                if (taken != nullptr) {
                    ++taken->count;
                }
            }
            test.hand_out(*this, ready);
        }
        return result;
    }
};

// Returns once condition() is true. If it never is, the test fails by its own timeout.
template <class Condition>
void until(Condition&& condition) {
    while (!condition()) {
        std::this_thread::yield();
    }
}

// A waiter that counts its notifications, and notes at each whether the port has contenders.
class CountingWaiter final : public Waiter {
public:
    explicit CountingWaiter(RunnablePort& port) : CountingWaiter(port, port.waiters) {}
    CountingWaiter(RunnablePort& port, PortWaiters& list) : port_(port), list_(list) {
        place_.waiter = this;
        list_.add(place_);
    }
    ~CountingWaiter() override { (void)list_.remove(place_); }
    void notify() noexcept override {
        ++count;
        contended = port_.runner.contended();
    }
    std::atomic<int> count{0};
    std::atomic<bool> contended{false};  // the port had contenders at the last notification

private:
    RunnablePort& port_;
    PortWaiters& list_;
    WaitPlace place_;
};

inline std::int64_t constexpr for_ever = -1;
inline std::int64_t constexpr second = 1'000'000'000;

// Waits for one event.
inline Waited wait_for(Host& host, PortEvent& event, std::int64_t timeout = for_ever,
                       Routines* routines = nullptr) {
    AwaitedEvents awaited({&event}, false);
    return Wait(host, awaited, routines, timeout).wait();
}

// Waits for the end of one operation of a TestPort.
class AwaitedTestOperation final : public AwaitedOperation {
public:
    AwaitedTestOperation(Host& host, TestPort& port, TestOperation& operation)
        : AwaitedOperation(port), host_(host), port_(port), operation_(operation) {}

protected:
    Operation* operation() noexcept override { return operation_.core; }
    bool done() override {
        return locked(host_, *port_.core,
                      [this] { return operation_.core == nullptr || operation_.core->finished(); });
    }

private:
    Host& host_;
    TestPort& port_;
    TestOperation& operation_;
};

}  // namespace iocp::run
