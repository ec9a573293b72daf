#pragma once

#include <cstddef>
#include <cstdint>

#include "run/runnable_port.hpp"

namespace iocp::run {

// The calling thread as a worker of a shared port, for one call that runs it. A record that is not
// handed out when the scope ends goes to the port's other workers.
class WorkerCall {
public:
    // Begins the worker's part in the call. Precondition: the worker is not inside another call.
    WorkerCall(Host& host, RunnablePort& port, PortWorker& worker);
    ~WorkerCall();
    WorkerCall(const WorkerCall&) = delete;
    WorkerCall& operator=(const WorkerCall&) = delete;

    // Notes that the last record is done, and takes the next one. After Next::over the worker must
    // call after_close() of the port. Needs the port's lock.
    [[nodiscard]] Port::Next next();
    // Takes another record, and keeps those in hand. Needs the port's lock.
    [[nodiscard]] Port::Next more();
    // Hands out the record that next() or more() took. Throws the host's exceptions; the record
    // then counts as handed out.
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
