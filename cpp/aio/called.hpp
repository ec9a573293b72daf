#pragma once

#include <array>

#include "aio/handle_object.hpp"

namespace iocp::aio {

// Makes a tuple of borrowed objects: a new reference, or null with an exception set.
PyObject* tuple_of(PyObject* const* objects, Py_ssize_t count);

// The call that a handle is to make, with references of its own: the callback may cancel its handle
// while it runs, and another thread at any time.
class Called {
public:
    explicit Called(HandleObject& handle);
    ~Called();
    Called(const Called&) = delete;
    Called& operator=(const Called&) = delete;

    // Returns whether there is a call: the handle was not cancelled.
    explicit operator bool() const noexcept { return callback_ != nullptr; }
    // Makes the call in the handle's context. Returns its result, or null with an exception set.
    // Precondition: there is a call.
    [[nodiscard]] PyObject* invoke();
    // Returns the arguments as a tuple: a new reference, or null with an exception set.
    [[nodiscard]] PyObject* arguments() const;

private:
    [[nodiscard]] PyObject* call();
    [[nodiscard]] PyObject* call_through_run();

    PyObject* callback_{nullptr};
    PyObject* context_{nullptr};
    PyObject* tuple_{nullptr};  // the arguments, if they are too many for the slots
    std::array<PyObject*, 1 + inline_arguments>
        slots_;  // the first is free, for a vectorcall's use
    std::size_t count_{0};
};

}  // namespace iocp::aio
