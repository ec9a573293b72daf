#pragma once

#include <atomic>
#include <cstdint>

#include "aio/loop_object.hpp"
#include "bindings/compat.hpp"

namespace iocp::aio {

inline constexpr int inline_arguments = 3;

// The Python object Handle: a callback that a loop is to run. The callback and the arguments are
// read and replaced in the object's critical section.
struct HandleObject {
    PyObject_HEAD
    PyObject* loop;      // the EventLoop; null once the collector has cleared the handle
    PyObject* callback;  // null once cancelled
    PyObject* context;
    PyObject* arguments[inline_arguments];  // null where unused
    PyObject* weak_references;
    std::int32_t count;  // of the arguments, or one of the two below
    std::atomic<bool> cancelled;
    bool timed;  // a TimerHandle

    static constexpr std::int32_t in_tuple = -1;  // arguments[0] is a tuple of all
    static constexpr std::int32_t as_text = -2;   // arguments[0] is the repr of a cancelled handle
};

// The Python object TimerHandle.
struct TimerHandleObject {
    HandleObject handle;
    double when;
    PyObject* given;              // the time as it was given, if that was no float; else null
    std::atomic<bool> scheduled;  // is among the loop's timers; written with the loop's mutex held
};

inline HandleObject& handle_of(PyObject* self) noexcept {
    return *reinterpret_cast<HandleObject*>(self);
}
inline TimerHandleObject& timer_of(PyObject* self) noexcept {
    return *reinterpret_cast<TimerHandleObject*>(self);
}
// Returns whether an object is a Handle of ours; a queue may have asyncio's own as well.
inline bool is_native(const LoopObject& loop, PyObject* handle) noexcept {
    return Py_IS_TYPE(handle, loop.types->handle) || Py_IS_TYPE(handle, loop.types->timer_handle);
}

// Takes the first timer of the loop, with its reference, and notes that it has left. Needs the
// loop's mutex, and a timer.
PyObject* take_first_timer(LoopObject& loop) noexcept;
// Notes that a handle, if it is ours, is no timer of the loop any more. Needs the loop's mutex.
void note_unscheduled(const LoopObject& loop, PyObject* handle) noexcept;

// What a handle is made of: the arguments of call_soon() and its like, borrowed.
struct Request {
    PyObject* callback{nullptr};
    PyObject* const* arguments{nullptr};
    Py_ssize_t count{0};
    PyObject* context{nullptr};  // null: a copy of the current one
};

// The slots that both types share. A type does not inherit tp_traverse by itself.
int traverse_handle(PyObject* self, visitproc visit, void* arg);
int clear_handle(PyObject* self);
void dealloc_handle(PyObject* self);

PyTypeObject* make_handle_type(PyObject* module);
PyTypeObject* make_timer_handle_type(PyObject* module, PyTypeObject* handle);

// Makes a handle: a new reference, or null with an exception set. `when` of a timer is its time as
// it was given; null makes a handle of call_soon().
HandleObject* new_handle(LoopObject& loop, const Request& request, PyObject* when = nullptr,
                         double seconds = 0);

// Runs the callback of a handle in its context, unless it is cancelled. Its exceptions go to the
// loop's exception handler, all but KeyboardInterrupt and SystemExit. False: an exception is set,
// and leaves the turn.
bool run_handle(HandleObject& handle);

// Returns the handle as asyncio shows it: a new reference, or null with an exception set.
PyObject* represent_handle(PyObject* self);
// Returns a tuple of the arguments, None of a cancelled handle: a new reference, or null.
PyObject* arguments_of(HandleObject& handle);
// Returns a new reference to the callback, or to None.
PyObject* callback_of(HandleObject& handle);

}  // namespace iocp::aio
