#pragma once

#include "bindings/dispatch.hpp"
#include "bindings/gathered.hpp"
#include "bindings/port_object.hpp"
#include "run/calls.hpp"
#include "run/host.hpp"

namespace iocp::py {

// A C++ exception that means that a Python exception is set.
struct Raised {};

// Invokes `call`. Returns false if it throws Raised: a Python exception is set.
template <class Call>
bool attempted(Call&& call) {
    try {
        call();
    } catch (const Raised&) {
        return false;
    }
    return true;
}

// The interpreter as the host of a call that runs ports or waits. A subclass decides where the
// completions without a callback go.
class PythonHost : public run::Host {
public:
    PythonHost() noexcept;

    void detach(run::Blocking call) final;
    void signals() final;
    run::Dispatched dispatch(run::RunnablePort& port, run::Inbox& inbox) final;

protected:
    // Returns whether the host takes completions without a callback. has_room(), expect() and
    // take() are called only if it does.
    [[nodiscard]] virtual bool takes() const noexcept = 0;
    // Returns whether the host takes one more completion.
    [[nodiscard]] virtual bool has_room() const noexcept { return true; }
    // Reserves memory for one more completion, before its record is taken. `in_hand`: a record of
    // the inbox is about to be handed out. May throw.
    virtual void expect(PortObject& /*port*/, bool /*in_hand*/) {}
    // Takes over the reference to a completion. Precondition: expect() was called since the last
    // take(). Returns whether the completion is kept for a later get().
    virtual bool take(PortObject& /*port*/, PyObject* /*completion*/) noexcept { return false; }
    // Called at the end of each dispatch.
    virtual void finish(PortObject& /*port*/) {}
    // Called before dispatch() throws, while the thread may still run the port.
    virtual void interrupted() noexcept {}

private:
    run::Dispatched hand_out_all(PortObject& port, run::Inbox& inbox);
};

// Drops the completions without a callback, as run() and run_once() do.
class DropHost final : public PythonHost {
protected:
    [[nodiscard]] bool takes() const noexcept override { return false; }
};

// Keeps the completions without a callback for a later get(), as waits do.
class KeepHost final : public PythonHost {
public:
    // `drops_claimed`: also drops kept completions whose results result() has returned. Only for a
    // thread that dispatches nothing while another thread runs the port.
    explicit KeepHost(bool drops_claimed = false) noexcept : drops_claimed_(drops_claimed) {}

protected:
    [[nodiscard]] bool takes() const noexcept override { return true; }
    void expect(PortObject& port, bool /*in_hand*/) override { port.expect_unclaimed(); }
    bool take(PortObject& port, PyObject* completion) noexcept override;
    void finish(PortObject& port) override;

private:
    bool drops_claimed_;
};

// Gathers the completions without a callback for get() and get_batch(), first those that were kept.
// The host outlives the runner's scope. So it gives the completions back before an exception ends
// that scope. The next thread that runs the port then finds them.
class GetHost final : public PythonHost {
public:
    GetHost(PortObject& port, std::size_t maximum) : out_(port) { taken_.maximum = maximum; }

    [[nodiscard]] const run::Taken& taken() const noexcept { return taken_; }
    // Hands all gathered completions to the caller, which then owns the references.
    std::vector<PyObject*> give() noexcept { return out_.give(); }

protected:
    [[nodiscard]] bool takes() const noexcept override { return true; }
    [[nodiscard]] bool has_room() const noexcept override { return !taken_.full(); }
    void expect(PortObject& port, bool in_hand) override;
    bool take(PortObject& port, PyObject* completion) noexcept override;
    void interrupted() noexcept override;

private:
    Gathered out_;
    run::Taken taken_;
};

}  // namespace iocp::py
