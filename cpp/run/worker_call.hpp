#pragma once

#include <cstddef>
#include <cstdint>

#include "run/runnable_port.hpp"

namespace iocp::run {

// The calling thread as a worker of a shared port, for one call that runs it. A record that is not
// handed out when the scope ends goes to the port's other workers.
class WorkerCall {
public:
    // Marks the worker as inside a call that runs the port, and gives back the record that it has
    // in hand. Precondition: its thread is not inside another such call.
    WorkerCall(Host& host, RunnablePort& port, PortWorker& worker);
    ~WorkerCall();
    WorkerCall(const WorkerCall&) = delete;
    WorkerCall& operator=(const WorkerCall&) = delete;

    // Notes that the last record is done, and takes the next one. After Next::over the worker must
    // call after_close() of the port. Needs the port's lock.
    [[nodiscard]] Port::Next next();
    // Takes another record, and keeps those in hand. Needs the port's lock.
    [[nodiscard]] Port::Next more();
    // Hands out the record that next() or more() took, by Host::dispatch(). If dispatch() throws,
    // the record counts as handed out unless it is still in the inbox.
    Dispatched hand_out();
    // Keeps the worker active after the call, because the caller gets its records. They stay in
    // hand until the thread asks for the next one.
    void keep() noexcept { keeps_ = true; }
    // Waits once, at most until `deadline` (negative: for ever), and checks for signals.
    Error wait(std::int64_t deadline);

private:
    Host& host_;
    RunnablePort& port_;
    PortWorker& worker_;
    bool keeps_{false};
};

}  // namespace iocp::run
