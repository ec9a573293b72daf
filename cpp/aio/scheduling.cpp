// The methods that give a loop something to do.
#include "aio/scheduling.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "bindings/held.hpp"

namespace iocp::aio {

namespace {

using py::Held;

// The form of a method: an argument before the callback, if there is one, the callback, its own
// arguments, and the keyword `context`.
struct Form {
    const char* method;
    const char* leading;   // null if the callback is the first argument
    const char* in_debug;  // the method of Python that takes the call in debug mode

    [[nodiscard]] Py_ssize_t named() const noexcept { return leading != nullptr ? 2 : 1; }
    [[nodiscard]] const char* name(Py_ssize_t place) const noexcept {
        return leading != nullptr && place == 0 ? leading : "callback";
    }
};

constexpr Form soon{"call_soon", nullptr, "_call_soon_in_debug"};
constexpr Form threadsafe{"call_soon_threadsafe", nullptr, "_call_soon_threadsafe_in_debug"};
constexpr Form later{"call_later", "delay", "_call_at_in_debug"};
constexpr Form at{"call_at", "when", "_call_at_in_debug"};

// The arguments of a call, borrowed.
struct Given {
    PyObject* leading{nullptr};
    Request request;
};

bool refuse(const Form& form, const char* complaint, const char* name) {
    PyErr_Format(PyExc_TypeError, "%s() %s '%s'", form.method, complaint, name);
    return false;
}

// Puts a keyword's value in its place.
bool place(const LoopObject& loop, const Form& form, PyObject* name, PyObject* value,
           std::array<PyObject*, 2>& named, PyObject*& context) {
    if (name == loop.state.names.context ||
        PyUnicode_CompareWithASCIIString(name, "context") == 0) {
        context = value != Py_None ? value : nullptr;
        return true;
    }
    for (Py_ssize_t i = 0; i < form.named(); ++i) {
        if (PyUnicode_CompareWithASCIIString(name, form.name(i)) != 0) {
            continue;
        }
        if (named[static_cast<std::size_t>(i)] != nullptr) {
            return refuse(form, "got multiple values for argument", form.name(i));
        }
        named[static_cast<std::size_t>(i)] = value;
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", form.method, name);
    return false;
}

// Takes the arguments of a call apart. False: an exception is set.
bool parse(const LoopObject& loop, const Form& form, PyObject* const* given, Py_ssize_t count,
           PyObject* keywords, Given& out) {
    std::array<PyObject*, 2> named{};
    const Py_ssize_t wanted = form.named();
    for (Py_ssize_t i = 0; i < wanted && i < count; ++i) {
        named[static_cast<std::size_t>(i)] = given[i];
    }
    const Py_ssize_t keyword_count = keywords != nullptr ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < keyword_count; ++i) {
        if (!place(loop, form, PyTuple_GET_ITEM(keywords, i), given[count + i], named,
                   out.request.context)) {
            return false;
        }
    }
    for (Py_ssize_t i = 0; i < wanted; ++i) {
        if (named[static_cast<std::size_t>(i)] == nullptr) {
            return refuse(form, "missing 1 required positional argument:", form.name(i));
        }
    }
    out.leading = form.leading != nullptr ? named[0] : nullptr;
    out.request.callback = named[static_cast<std::size_t>(wanted - 1)];
    if (count > wanted) {
        out.request.arguments = given + wanted;
        out.request.count = count - wanted;
    }
    return true;
}

// Makes the call in asyncio's own way: its Handle knows where it was made.
PyObject* call_in_debug(PyObject* self, const Form& form, PyObject* when, const Request& request) {
    const Held method(PyObject_GetAttrString(self, form.in_debug));
    if (method.get() == nullptr) {
        return nullptr;
    }
    const Py_ssize_t first = when != nullptr ? 2 : 1;
    const Held all(PyTuple_New(first + request.count));
    const Held named(all.get() != nullptr ? PyDict_New() : nullptr);
    if (named.get() == nullptr ||
        (request.context != nullptr &&
         PyDict_SetItemString(named.get(), "context", request.context) < 0)) {
        return nullptr;
    }
    if (when != nullptr) {
        PyTuple_SET_ITEM(all.get(), 0, Py_NewRef(when));
    }
    PyTuple_SET_ITEM(all.get(), first - 1, Py_NewRef(request.callback));
    for (Py_ssize_t i = 0; i < request.count; ++i) {
        PyTuple_SET_ITEM(all.get(), first + i, Py_NewRef(request.arguments[i]));
    }
    return attaching([&] { return PyObject_Call(method.get(), all.get(), named.get()); });
}

// Adds a reference to a handle of an open loop, and wakes a loop that waits. Returns false if the
// loop is closed. May throw, and then has done nothing.
bool add_ready(LoopObject& loop, PyObject* handle) {
    LoopState& state = loop.state;
    bool asleep = false;
    {
        const std::lock_guard guard(state.mutex);
        if (state.closed.load(std::memory_order_relaxed)) {
            return false;
        }
        state.ready.make_room();
        state.ready.push(Py_NewRef(handle));
        asleep = state.asleep.load(std::memory_order_relaxed);
    }
    if (asleep) {
        wake(loop);
    }
    return true;
}

// Converts the time of a timer. NaN is due at once, as asyncio runs it. False: an exception is set.
bool to_due(PyObject* when, double& due) {
    due = PyFloat_CheckExact(when) ? PyFloat_AS_DOUBLE(when)
                                   : attaching([when] { return PyFloat_AsDouble(when); });
    return due != -1.0 || PyErr_Occurred() == nullptr;
}

// Adds a timer of an open loop, with a reference to its handle. May throw, and then has done
// nothing.
bool add_timer(LoopObject& loop, PyObject* handle, double due) {
    LoopState& state = loop.state;
    const std::lock_guard guard(state.mutex);
    if (state.closed.load(std::memory_order_relaxed)) {
        return false;
    }
    state.timers.make_room();
    state.timers.push(std::isnan(due) ? -std::numeric_limits<double>::infinity() : due,
                      Py_NewRef(handle));
    if (Py_IS_TYPE(handle, loop.types->timer_handle)) {
        timer_of(handle).scheduled = true;
    }
    return true;
}

PyObject* schedule(LoopObject& loop, const Form& form, PyObject* when, const Request& request) {
    if (loop.state.debugging) {
        return call_in_debug(reinterpret_cast<PyObject*>(&loop), form, when, request);
    }
    double due = 0;
    if (!to_due(when, due)) {
        return nullptr;
    }
    Held handle(reinterpret_cast<PyObject*>(new_handle(loop, request, when, due)));
    if (handle.get() == nullptr) {
        return nullptr;
    }
    return add_timer(loop, handle.get(), due) ? handle.release() : refuse_closed();
}

// Adds a delay to the loop's time: a new reference, or null with an exception set.
PyObject* time_after(LoopObject& loop, PyObject* delay) {
    double now = 0;
    if (!ask_time(loop, now)) {
        return nullptr;
    }
    if (PyFloat_CheckExact(delay)) {
        return PyFloat_FromDouble(now + PyFloat_AS_DOUBLE(delay));
    }
    const Held from(PyFloat_FromDouble(now));
    return from.get() != nullptr ? attaching([&] { return PyNumber_Add(from.get(), delay); })
                                 : nullptr;
}

PyObject* none_unless_failed(bool good) {
    if (!good) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

// Returns the truth of an attribute; negative: an exception is set.
int truth_of(PyObject* object, const char* name) {
    return attaching([&] {
        const Held value(PyObject_GetAttrString(object, name));
        return value.get() != nullptr ? PyObject_IsTrue(value.get()) : -1;
    });
}

PyObject* soon_by(PyObject* self, const Form& form, PyObject* const* given, Py_ssize_t count,
                  PyObject* keywords) {
    LoopObject& loop = loop_of(self);
    Given call;
    if (!parse(loop, form, given, count, keywords, call)) {
        return nullptr;
    }
    if (loop.state.debugging && !loop.state.closed) {
        return call_in_debug(self, form, nullptr, call.request);
    }
    return call_soon(loop, call.request);
}

}  // namespace

PyObject* call_soon(LoopObject& loop, const Request& request) {
    if (loop.state.closed) {
        return refuse_closed();
    }
    Held handle(reinterpret_cast<PyObject*>(new_handle(loop, request)));
    if (handle.get() == nullptr) {
        return nullptr;
    }
    return add_ready(loop, handle.get()) ? handle.release() : refuse_closed();
}

bool push_ready(LoopObject& loop, PyObject* handle) {
    return add_ready(loop, handle) || refuse_closed() != nullptr;
}

PyObject* call_soon_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords) {
    return soon_by(self, soon, given, count, keywords);
}

// The same, because a push wakes a loop that waits.
PyObject* call_soon_threadsafe_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                                      PyObject* keywords) {
    return soon_by(self, threadsafe, given, count, keywords);
}

PyObject* call_later_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                            PyObject* keywords) {
    LoopObject& loop = loop_of(self);
    Given call;
    if (!parse(loop, later, given, count, keywords, call)) {
        return nullptr;
    }
    if (call.leading == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return nullptr;
    }
    const Held when(time_after(loop, call.leading));
    if (when.get() == nullptr) {
        return nullptr;
    }
    return loop.state.closed ? refuse_closed() : schedule(loop, later, when.get(), call.request);
}

PyObject* call_at_method(PyObject* self, PyObject* const* given, Py_ssize_t count,
                         PyObject* keywords) {
    LoopObject& loop = loop_of(self);
    Given call;
    if (!parse(loop, at, given, count, keywords, call)) {
        return nullptr;
    }
    if (call.leading == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return nullptr;
    }
    return loop.state.closed ? refuse_closed() : schedule(loop, at, call.leading, call.request);
}

// Queues a handle of asyncio's own.
PyObject* push_method(PyObject* self, PyObject* handle) {
    return none_unless_failed(push_ready(loop_of(self), handle));
}

// Adds a timer of asyncio's own.
PyObject* push_timer_method(PyObject* self, PyObject* handle) {
    const Held when(PyObject_GetAttrString(handle, "_when"));
    double due = 0;
    if (when.get() == nullptr || !to_due(when.get(), due)) {
        return nullptr;
    }
    if (!add_timer(loop_of(self), handle, due)) {
        return refuse_closed();
    }
    return none_unless_failed(is_native(loop_of(self), handle) ||
                              PyObject_SetAttrString(handle, "_scheduled", Py_True) == 0);
}

// A closed loop drops the handle, as asyncio's own does in effect.
PyObject* add_callback_method(PyObject* self, PyObject* handle) {
    const int cancelled = truth_of(handle, "_cancelled");
    if (cancelled == 0) {
        (void)add_ready(loop_of(self), handle);
    }
    return none_unless_failed(cancelled >= 0);
}

PyObject* timer_handle_cancelled_method(PyObject* self, PyObject* handle) {
    const int scheduled = truth_of(handle, "_scheduled");
    if (scheduled > 0) {
        LoopState& state = loop_of(self).state;
        const std::lock_guard guard(state.mutex);
        state.timers.add_cancelled();
    }
    return none_unless_failed(scheduled >= 0);
}

}  // namespace iocp::aio
