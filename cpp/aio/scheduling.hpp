#pragma once

#include "aio/handle_object.hpp"
#include "aio/loop_object.hpp"

namespace iocp::aio {

// The calls that give a loop something to do. Each returns a new reference to a handle, or null
// with an exception set.

// Queues a callback behind those that are ready.
PyObject* call_soon(LoopObject& loop, const Request& request);

// Queues a handle, ours or asyncio's own, and wakes the loop if it waits. Returns false with an
// exception set: the loop is closed, or memory is lacking.
bool push_ready(LoopObject& loop, PyObject* handle);

// The rows of the table of methods.
PyObject* call_soon_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords);
PyObject* call_soon_threadsafe_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                                      PyObject* keywords);
PyObject* call_later_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                            PyObject* keywords);
PyObject* call_at_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                         PyObject* keywords);
PyObject* push_method(PyObject* self, PyObject* handle);
PyObject* push_timer_method(PyObject* self, PyObject* handle);
PyObject* add_callback_method(PyObject* self, PyObject* handle);
PyObject* timer_handle_cancelled_method(PyObject* self, PyObject* handle);

}  // namespace iocp::aio
