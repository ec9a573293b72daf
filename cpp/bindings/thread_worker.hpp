#pragma once

#include "bindings/objects.hpp"

namespace iocp::py {

// The calling thread as a worker of one port for several threads.
struct ThreadWorker {
    // Made when it is first asked for; the thread's end ends it. Null with an exception set.
    static ThreadWorker* of(PyObject* self, const PortObject& port);

    PyObject* port{nullptr};  // a weak reference
    const PortObject* binding{nullptr};
    bool inside{false};  // a call of the port's is under way in this thread
    Worker worker;
};

}  // namespace iocp::py
