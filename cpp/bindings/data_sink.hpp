#pragma once

#include "bindings/compat.hpp"
#include "ops/buffer.hpp"

namespace iocp::py {

// A native receiver of what happens at a stream: a type of a room above this one, whose objects
// stand where a Socket stores callables (`on_item`, `on_close`). Its functions take the core's own
// records, without an object for each. They may run Python. False: an exception is set that ends
// the call that runs the port.
struct DataSink {
    PyTypeObject* type{nullptr};  // null until the type is made
    // Takes data that arrived; none at the end of the stream.
    bool (*data)(PyObject* sink, Slice&& slice){nullptr};
    // Takes the news that the bytes to send have fallen (PortSockets::expect_fall()).
    bool (*fell)(PyObject* sink){nullptr};
    // Takes the exception of a muted send that failed.
    bool (*failed)(PyObject* sink, PyObject* exception){nullptr};
    // Takes the end of the Socket: an exception, or None.
    bool (*closed)(PyObject* sink, PyObject* exception){nullptr};

    [[nodiscard]] bool is_type_of(PyObject* object) const noexcept {
        return type != nullptr && PyObject_TypeCheck(object, type) != 0;
    }
};

// What a room above this one keeps for as long as the types of one import.
struct Addition {
    Addition() = default;
    virtual ~Addition() = default;
    Addition(const Addition&) = delete;
    Addition& operator=(const Addition&) = delete;
};

}  // namespace iocp::py
