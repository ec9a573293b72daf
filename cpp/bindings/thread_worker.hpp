#pragma once

#include "bindings/port_object.hpp"

namespace iocp::py {

// A thread as a worker of one shared port.
struct ThreadWorker {
    // Returns the calling thread's worker of the port, made at the first call. The worker ends with
    // the thread. Null: an exception is set.
    static ThreadWorker* of(const PortObject& port);

    PyObject* port{nullptr};  // a weak reference
    const PortObject* binding{nullptr};
    run::PortWorker worker;
};

}  // namespace iocp::py
