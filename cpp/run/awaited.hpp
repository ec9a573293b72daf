#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "run/port_event.hpp"
#include "run/runnable_port.hpp"

namespace iocp::run {

// Collects ports for a wait, each once, and keeps them alive.
class FoundPorts {
public:
    // Adds a port, unless it was added before. Precondition: the events' lock is held, or the
    // caller keeps the port alive.
    void add(RunnablePort& port);
    [[nodiscard]] std::vector<PortRef>& all() noexcept { return found_; }

private:
    std::vector<PortRef> found_;
};

// The result of Awaited::look(): the condition is met, it is not met yet, or one of its events was
// closed. `met` and `closed` end the wait.
enum class Look : std::uint8_t { met, pending, closed };

// A condition that a thread waits for, such as a set event or the end of an operation.
class Awaited {
public:
    Awaited() = default;
    virtual ~Awaited() = default;
    Awaited(const Awaited&) = delete;
    Awaited& operator=(const Awaited&) = delete;

    // From enlist() to withdraw() every change of the condition notifies the waiter. Both are
    // called with the events' lock held.
    virtual void enlist(Waiter& waiter) noexcept = 0;
    virtual void withdraw() noexcept = 0;
    // Adds the ports whose turns can fulfil the condition. These ports may change while the thread
    // waits.
    virtual void find_ports(Host& host, FoundPorts& out) = 0;
    // Checks the condition. If it is met, resets the events that met it, except those with manual
    // reset. May throw.
    virtual Look look() = 0;
};

// The condition of a sleep. It is never met, so only the timeout or a completion routine ends the
// wait.
class AwaitedTime final : public Awaited {
public:
    void enlist(Waiter& /*waiter*/) noexcept override {}
    void withdraw() noexcept override {}
    void find_ports(Host& /*host*/, FoundPorts& /*out*/) override {}
    Look look() override { return Look::pending; }
};

// Waits for one of several events, or until all of them are set at one moment. The events that end
// the wait are then reset, except those with manual reset.
class AwaitedEvents final : public Awaited {
public:
    // The caller must keep the events alive.
    AwaitedEvents(std::vector<PortEvent*> events, bool all)
        : events_(std::move(events)), places_(events_.size()), all_(all) {}

    void enlist(Waiter& waiter) noexcept override;
    void withdraw() noexcept override;
    void find_ports(Host& host, FoundPorts& out) override;
    Look look() override;

    // Returns the index of the event that ended a wait for one of several.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }

private:
    std::vector<PortEvent*> events_;
    std::vector<WaitPlace> places_;
    bool all_;
    std::size_t index_{0};
};

// Waits for the end of one operation.
class AwaitedOperation : public Awaited {
public:
    // The caller must keep the port alive.
    explicit AwaitedOperation(RunnablePort& port) noexcept : port_(port) {}

    // An operation has no waiters of its own. The port notifies the port's waiters when the
    // operation ends.
    void enlist(Waiter& /*waiter*/) noexcept final {}
    void withdraw() noexcept final {}
    void find_ports(Host& host, FoundPorts& out) final;
    Look look() final { return done() ? Look::met : Look::pending; }

protected:
    // Returns the operation, or null once it was handed out. The port's lock is held.
    [[nodiscard]] virtual Operation* operation() noexcept = 0;
    // Returns whether the operation's result is final.
    [[nodiscard]] virtual bool done() = 0;

private:
    RunnablePort& port_;
    bool notifies_{false};  // Operation::notifies was set
};

// The completion routines of the waiting thread, which an alertable wait runs.
class Routines {
public:
    Routines() = default;
    virtual ~Routines() = default;
    Routines(const Routines&) = delete;
    Routines& operator=(const Routines&) = delete;

    // Adds the ports whose turns can make a completion routine due.
    virtual void find_ports(FoundPorts& out) = 0;
    [[nodiscard]] virtual bool any_due() const = 0;
    // Runs the routines that are due now. Throws the exception of a routine; the rest stay due.
    virtual void run_due() = 0;

    WaiterList waiters;  // the thread's alertable waits; guarded by the events' lock
};

}  // namespace iocp::run
