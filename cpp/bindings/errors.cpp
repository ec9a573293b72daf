#include <cerrno>
#include <cstring>

#include "bindings/objects.hpp"

namespace iocp::py {

namespace {

constexpr const char* class_names[error_classes] = {
    "Error",          "Cancelled",     "TimedOut",           "SocketClosed",
    "PortClosed",     "ArgumentError", "ArgumentTypeError",  "WrongThread",
    "PortRunning",    "ForkedPort",    "BackendUnavailable", "ResourceExhausted",
    "BudgetExceeded",
};

struct Mapping {
    ErrorClass which;
    int code;
};

Mapping mapping_of(Fault fault) noexcept {
    switch (fault) {
        case Fault::cancelled:
            return {ErrorClass::cancelled, ECANCELED};
        case Fault::timed_out:
            return {ErrorClass::timed_out, ETIMEDOUT};
        case Fault::socket_closed:
            return {ErrorClass::socket_closed, EBADF};
        case Fault::port_closed:
            return {ErrorClass::port_closed, EBADF};
        case Fault::argument:
            return {ErrorClass::argument, EINVAL};
        case Fault::wrong_thread:
            return {ErrorClass::wrong_thread, EPERM};
        case Fault::forked:
            return {ErrorClass::forked, EPERM};
        case Fault::budget:
            return {ErrorClass::budget, ENOBUFS};
        case Fault::resource:
            return {ErrorClass::exhausted, ENOMEM};
        case Fault::none:
        case Fault::system:
            break;
    }
    return {ErrorClass::error, EIO};
}

// Precondition: the lock is not held.
bool attach_counters(PortObject& port, PyObject* exception) {
    const LedgerView view = locked(port, [&] { return port.core->ledger_view(); });
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
    return true;
}

PyObject* make_exception(PortObject* port, const Types& types, const Error& error) {
    if (error.fault == Fault::system) {
        // OSError picks the builtin subclass of the number by itself.
        return PyObject_CallFunction(PyExc_OSError, "is", error.code, std::strerror(error.code));
    }
    const Mapping mapping = mapping_of(error.fault);
    const int code = error.code != 0 ? error.code : mapping.code;
    PyObject* exception =
        PyObject_CallFunction(types.errors[static_cast<std::size_t>(mapping.which)], "is", code,
                              error.text != nullptr ? error.text : std::strerror(code));
    if (exception != nullptr && port != nullptr &&
        (mapping.which == ErrorClass::exhausted || mapping.which == ErrorClass::budget) &&
        !attach_counters(*port, exception)) {
        Py_DECREF(exception);
        return nullptr;
    }
    return exception;
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

}  // namespace iocp::py
