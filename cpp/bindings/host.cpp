#include "bindings/host.hpp"

#include "bindings/dispatch.hpp"
#include "bindings/hand_over.hpp"
#include "bindings/interrupt_event.hpp"
#include "bindings/port_object.hpp"
#include "bindings/retired.hpp"

namespace iocp::py {

namespace {

// Gives the slots of handed-out operations and sockets back at the end of a dispatch.
class Retiring {
public:
    explicit Retiring(PortObject& port) noexcept : port_(port) {}
    ~Retiring() {
        if (!port_.forked()) {
            retire_handed_out(port_, retired);
        }
    }
    Retiring(const Retiring&) = delete;
    Retiring& operator=(const Retiring&) = delete;

    Retired retired;

private:
    PortObject& port_;
};

}  // namespace

PythonHost::PythonHost() noexcept : Host(interrupt_event()) {}

void PythonHost::detach(run::Blocking call) {
    detached([&call] { call(); });
}

void PythonHost::signals() {
    if (PyErr_CheckSignals() != 0) {
        throw Raised();
    }
}

run::Dispatched PythonHost::dispatch(run::RunnablePort& port, run::Inbox& inbox) {
    try {
        return hand_out_all(static_cast<PortObject&>(port), inbox);
    } catch (...) {
        interrupted();
        throw;
    }
}

// Hands over notified completions first. Once the records of their turn are handed out, the sockets
// of these completions may be retired.
run::Dispatched PythonHost::hand_out_all(PortObject& port, run::Inbox& inbox) {
    run::Dispatched result;
    const bool taking = takes();
    if (taking) {
        expect(port, !inbox.empty());
    }
    if (port.core->any_notified()) {
        result.count += static_cast<std::size_t>(hand_over(port));
    }
    {
        Retiring retiring(port);
        while (!inbox.empty() && (!taking || has_room()) && !port.runner.gives_way()) {
            // Takes the record out of the inbox before the call, because the callback may raise.
            Ready ready = inbox.take();
            result.count += ready.what != Ready::What::nagle_stall ? 1 : 0;
            PyObject* wanted = nullptr;
            const bool good =
                hand_out_one(port.self, port, ready, retiring.retired, taking ? &wanted : nullptr);
            if (wanted != nullptr) {
                result.kept = take(port, wanted) || result.kept;
            }
            if (!good) {
                throw Raised();
            }
            if (port.forked()) {
                // The callback has forked, and this is the child. Threads that the child lacks may
                // hold the locks that the call would take next.
                (void)usable(port);
                throw Raised();
            }
            if (taking) {
                expect(port, !inbox.empty());
            }
        }
    }
    finish(port);
    return result;
}

bool KeepHost::take(PortObject& port, PyObject* completion) noexcept {
    const std::lock_guard guard(port.links_mutex);
    port.unclaimed.push_back(completion);
    return true;
}

void KeepHost::finish(PortObject& port) {
    if (drops_claimed_ || port.core->shared()) {
        drop_claimed(port);
    }
}

// Takes completions that other threads have kept for get() meanwhile. A worker of a shared port
// takes none while it has a record in hand, because they might leave no room for the completion of
// that record.
void GetHost::expect(PortObject& port, bool in_hand) {
    if (out_.size() == 0 && !port.forked() && !(in_hand && port.core->shared())) {
        out_.take_unclaimed(taken_.maximum);
        taken_.count = out_.size();
    }
    out_.expect();
}

void GetHost::interrupted() noexcept {
    out_.give_back();
    taken_.count = 0;
}

bool GetHost::take(PortObject& /*port*/, PyObject* completion) noexcept {
    out_.add(completion);
    taken_.count = out_.size();
    return false;
}

}  // namespace iocp::py
