#pragma once

#include <Python.h>

namespace iocp::py {

// Watches the callbacks that a dispatch makes. Both calls come attached, and may run any code.
class CallWatch {
public:
    virtual ~CallWatch() = default;
    // Called before a callback. Returns false with an exception set, which ends the dispatch.
    virtual bool begin() = 0;
    // Called after a callback whose exception, if it raised, was reported. Returns false with an
    // exception set, which ends the dispatch.
    virtual bool end(PyObject* callback) = 0;
};

}  // namespace iocp::py
