#include "aio/debug_watch.hpp"

#include "bindings/held.hpp"

namespace iocp::aio {

DebugWatch::DebugWatch(LoopObject& loop, py::PortObject& port) noexcept : loop_(loop), port_(port) {
    if (loop.state.debugging) {
        port_.call_watch = this;
    }
}

DebugWatch::~DebugWatch() { port_.call_watch = nullptr; }

bool DebugWatch::begin() { return ask_time(loop_, begun_); }

bool DebugWatch::end(PyObject* callback) {
    double now = 0;
    if (!ask_time(loop_, now)) {
        return false;
    }
    const py::Held result(attaching([&] {
        return PyObject_CallMethod(reinterpret_cast<PyObject*>(&loop_), "_record_took", "Od",
                                   callback, now - begun_);
    }));
    return result.get() != nullptr;
}

}  // namespace iocp::aio
