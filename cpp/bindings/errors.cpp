#include "bindings/errors.hpp"

#include <array>
#include <cerrno>

#include "backend/system_error.hpp"
#include "bindings/port_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

constexpr std::array class_names{
    "Error",          "Cancelled",     "TimedOut",           "SocketClosed",
    "PortClosed",     "ArgumentError", "ArgumentTypeError",  "WrongThread",
    "PortRunning",    "ForkedPort",    "BackendUnavailable", "ResourceExhausted",
    "BudgetExceeded", "NothingDue",    "StillPending",
};
static_assert(class_names.size() == error_classes);

struct Mapping {
    ErrorClass which;
    int code;
    const char* text;
};

Mapping mapping_of(const Types& types, Fault fault) noexcept {
    switch (fault) {
        case Fault::cancelled:
            return {ErrorClass::cancelled, ECANCELED, "the operation was cancelled"};
        case Fault::timed_out:
            return {ErrorClass::timed_out, types.timed_out_code, "the operation's timeout passed"};
        case Fault::socket_closed:
            return {ErrorClass::socket_closed, EBADF, "the socket is closed"};
        case Fault::port_closed:
            return {ErrorClass::port_closed, EBADF, "the port is closed"};
        case Fault::truncated:
            return {ErrorClass::error, types.message_size_code,
                    "the datagram was truncated: it is longer than its buffer"};
        case Fault::argument:
            return {ErrorClass::argument, EINVAL, "this backend does not support these arguments"};
        case Fault::wrong_thread:
            return {ErrorClass::wrong_thread, EPERM, "another thread runs the port"};
        case Fault::forked:
            return {ErrorClass::forked, EPERM,
                    "the port belongs to the parent process; make a new one in the child"};
        case Fault::budget:
            return {ErrorClass::budget, types.no_buffers_code,
                    "the port's budget of locked memory is used up"};
        case Fault::nothing_due:
            return {ErrorClass::nothing_due, EDEADLK,
                    "no event of the model can end this wait; post something first"};
        case Fault::resource:
            return {ErrorClass::exhausted, ENOMEM, "the system ran out of memory"};
        case Fault::none:
        case Fault::system:
            break;
    }
    return {ErrorClass::error, EIO, "unknown error"};
}

// Makes the exception for an error number of the system. On Windows, OSError itself derives errno
// and the built-in subclass, such as ConnectionResetError, from the Windows number.
PyObject* system_exception(PyObject* type, int code, const char* text) {
    return errors_are_windows_codes ? PyObject_CallFunction(type, "isOi", 0, text, Py_None, code)
                                    : PyObject_CallFunction(type, "is", code, text);
}

bool load_code(PyObject* module, const char* name, int& out) {
    PyObject* number = PyObject_GetAttrString(module, name);
    if (number == nullptr) {
        return false;
    }
    out = static_cast<int>(PyLong_AsLong(number));
    Py_DECREF(number);
    return out != -1 || PyErr_Occurred() == nullptr;
}

// Gives the exception its attribute `ledger`, the figures of the port's ledger. Precondition: the
// port's lock is not held.
bool attach_counters(PortObject& port, PyObject* exception) {
    const LedgerView view = locked(port, [&] { return port.core->figures().ledger(); });
    PyObject* counters =
        Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K}", "now", static_cast<unsigned long long>(view.now),
                      "peak", static_cast<unsigned long long>(view.peak), "budget",
                      static_cast<unsigned long long>(view.budget), "kernel_locked",
                      static_cast<unsigned long long>(view.kernel_locked), "registered",
                      static_cast<unsigned long long>(view.registered), "internal",
                      static_cast<unsigned long long>(view.internal));
    if (counters == nullptr) {
        return false;
    }
    const int set = PyObject_SetAttrString(exception, "ledger", counters);
    Py_DECREF(counters);
    return set == 0;
}

}  // namespace

Types::~Types() {
    Py_XDECREF(buffer);
    Py_XDECREF(operation);
    Py_XDECREF(completion);
    Py_XDECREF(timer);
    Py_XDECREF(socket);
    Py_XDECREF(registered);
    Py_XDECREF(event);
    Py_XDECREF(handle);
    Py_XDECREF(timer_handle);
    Py_XDECREF(event_loop);
    Py_XDECREF(routines_ran);
    Py_XDECREF(sink.type);
    for (PyObject* error : errors) {
        Py_XDECREF(error);
    }
}

bool load_errors(Types& types) {
    PyObject* module = PyImport_ImportModule("iocp_sock.errors");
    if (module == nullptr) {
        return false;
    }
    for (std::size_t i = 0; i < error_classes; ++i) {
        types.errors[i] = PyObject_GetAttrString(module, class_names[i]);
        if (types.errors[i] == nullptr) {
            Py_DECREF(module);
            return false;
        }
    }
    Py_DECREF(module);
    PyObject* routines = PyImport_ImportModule("iocp_sock.routines");
    types.routines_ran =
        routines != nullptr ? PyObject_GetAttrString(routines, "ROUTINES_RAN") : nullptr;
    Py_XDECREF(routines);
    if (types.routines_ran == nullptr) {
        return false;
    }
    PyObject* numbers = PyImport_ImportModule("errno");
    const bool good = numbers != nullptr && load_code(numbers, "ETIMEDOUT", types.timed_out_code) &&
                      load_code(numbers, "ENOBUFS", types.no_buffers_code) &&
                      load_code(numbers, "EMSGSIZE", types.message_size_code);
    Py_XDECREF(numbers);
    return good;
}

namespace {

PyObject* exception_for(PortObject* port, const Types& types, const Error& error) {
    if (error.fault == Fault::system) {
        return system_exception(PyExc_OSError, error.code, error_text(error.code).c_str());
    }
    const Mapping mapping = mapping_of(types, error.fault);
    PyObject* type = types.errors[static_cast<std::size_t>(mapping.which)];
    PyObject* exception =
        error.code != 0
            ? system_exception(type, error.code,
                               error.text != nullptr ? error.text : error_text(error.code).c_str())
            : PyObject_CallFunction(type, "is", mapping.code,
                                    error.text != nullptr ? error.text : mapping.text);
    if (exception != nullptr && port != nullptr &&
        (mapping.which == ErrorClass::exhausted || mapping.which == ErrorClass::budget) &&
        !attach_counters(*port, exception)) {
        Py_DECREF(exception);
        return nullptr;
    }
    return exception;
}

}  // namespace

PyObject* make_exception(PortObject* port, const Types& types, const Error& error) {
    try {
        return exception_for(port, types, error);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

PyObject* raise(PortObject* port, const Types& types, const Error& error) {
    PyObject* exception = make_exception(port, types, error);
    if (exception != nullptr) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
        Py_DECREF(exception);
    }
    return nullptr;
}

PyObject* raise(const Types& types, ErrorClass which, int code, const char* text) {
    PyObject* arguments = Py_BuildValue("(is)", code, text);
    if (arguments != nullptr) {
        PyErr_SetObject(types.errors[static_cast<std::size_t>(which)], arguments);
        Py_DECREF(arguments);
    }
    return nullptr;
}

bool refuse(const Types& types, ErrorClass which, PyObject* message) {
    if (message != nullptr) {
        raise(types, which, EINVAL, PyUnicode_AsUTF8(message));
        Py_DECREF(message);
    }
    return false;
}

PyObject* warning_class(const char* name) {
    PyObject* module = PyImport_ImportModule("iocp_sock.warning");
    PyObject* found = module != nullptr ? PyObject_GetAttrString(module, name) : nullptr;
    Py_XDECREF(module);
    return found;
}

}  // namespace iocp::py
