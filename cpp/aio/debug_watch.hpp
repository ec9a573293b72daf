#pragma once

#include "aio/loop_object.hpp"
#include "bindings/call_watch.hpp"

namespace iocp::aio {

// Times the callbacks of the port's records for the scope, if the loop is in debug mode, and gives
// each duration to the loop: a slow one is reported with its name.
class DebugWatch final : public py::CallWatch {
public:
    DebugWatch(LoopObject& loop, py::PortObject& port) noexcept;
    ~DebugWatch() override;
    DebugWatch(const DebugWatch&) = delete;
    DebugWatch& operator=(const DebugWatch&) = delete;

    bool begin() override;
    bool end(PyObject* callback) override;

private:
    LoopObject& loop_;
    py::PortObject& port_;
    double begun_{0};
};

}  // namespace iocp::aio
