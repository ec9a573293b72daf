#pragma once

#include "bindings/port_object.hpp"

namespace iocp::py {

// The calling thread as a worker of one port for several threads.
struct ThreadWorker {
    // Made when it is first asked for; the thread's end ends it. Null with an exception set.
    static ThreadWorker* of(const PortObject& port);

    PyObject* port{nullptr};  // a weak reference
    const PortObject* binding{nullptr};
    run::PortWorker worker;
};

}  // namespace iocp::py
