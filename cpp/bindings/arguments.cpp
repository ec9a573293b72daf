#include "bindings/arguments.hpp"

#include <cerrno>
#include <climits>
#include <cmath>

namespace iocp::py {

namespace {

bool refuse(const Types& types, ErrorClass which, const char* text) {
    raise(types, which, EINVAL, text);
    return false;
}

// Named errors instead of the interpreter's own, which say nothing about sockets.
bool renamed(const Types& types, const char* format, const char* name) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0 &&
        PyErr_ExceptionMatches(PyExc_OverflowError) == 0 &&
        PyErr_ExceptionMatches(PyExc_ValueError) == 0) {
        return false;
    }
    const bool type = PyErr_ExceptionMatches(PyExc_TypeError) != 0;
    PyErr_Clear();
    PyObject* message = PyUnicode_FromFormat(format, name);
    if (message != nullptr) {
        raise(types, type ? ErrorClass::argument_type : ErrorClass::argument, EINVAL,
              PyUnicode_AsUTF8(message));
        Py_DECREF(message);
    }
    return false;
}

}  // namespace

bool to_callback(const Types& types, PyObject* value, PyObject*& out) {
    out = nullptr;
    if (!is_given(value)) {
        return true;
    }
    if (PyCallable_Check(value) == 0) {
        return refuse(types, ErrorClass::argument_type, "a callback must be callable, or None");
    }
    out = value;
    return true;
}

bool to_timeout(const Types& types, PyObject* value, std::int64_t& nanoseconds) {
    nanoseconds = -1;
    if (!is_given(value)) {
        return true;
    }
    const double seconds = attaching([value] { return PyFloat_AsDouble(value); });
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return renamed(types, "%s is a number of seconds, or None", "timeout");
    }
    if (std::isnan(seconds) || seconds < 0) {
        return refuse(types, ErrorClass::argument,
                      "timeout is a number of seconds from 0, or None for no limit");
    }
    constexpr double longest = 4e9;  // beyond a century it is no limit
    if (seconds < longest) {
        nanoseconds = static_cast<std::int64_t>(std::ceil(seconds * 1e9));
    }
    return true;
}

bool to_int(const Types& types, PyObject* value, const char* name, int& out) {
    if (!is_given(value)) {
        return true;
    }
    const long number = attaching([value] { return PyLong_AsLong(value); });
    if (number == -1 && PyErr_Occurred() != nullptr) {
        return renamed(types, "%s is an integer of at most 32 bits", name);
    }
    if (number < INT_MIN || number > INT_MAX) {
        return refuse(types, ErrorClass::argument, "an integer of at most 32 bits is needed");
    }
    out = static_cast<int>(number);
    return true;
}

bool to_size(const Types& types, PyObject* value, const char* name, Py_ssize_t least,
             Py_ssize_t& out) {
    if (!is_given(value)) {
        return true;
    }
    const Py_ssize_t number =
        attaching([value] { return PyNumber_AsSsize_t(value, PyExc_OverflowError); });
    if (number == -1 && PyErr_Occurred() != nullptr) {
        return renamed(types, "%s is a number of bytes, an int", name);
    }
    constexpr Py_ssize_t most = Py_ssize_t{1} << 30;
    if (number < least || number > most) {
        PyObject* message =
            PyUnicode_FromFormat("%s is a number of bytes from %zd to 1 GiB", name, least);
        if (message != nullptr) {
            raise(types, ErrorClass::argument, EINVAL, PyUnicode_AsUTF8(message));
            Py_DECREF(message);
        }
        return false;
    }
    out = number;
    return true;
}

PyObject* listed(const Types& types, PyObject* iterable, Py_ssize_t most, const char* refusal,
                 const char* too_many) {
    if (PyTuple_CheckExact(iterable)) {
        return PyTuple_GET_SIZE(iterable) <= most
                   ? Py_NewRef(iterable)
                   : raise(types, ErrorClass::argument, EINVAL, too_many);
    }
    PyObject* list = nullptr;
    if (PyList_CheckExact(iterable)) {
        list = Py_NewRef(iterable);
    } else if (PyObject* items = attaching([iterable] { return PyObject_GetIter(iterable); })) {
        list = PyList_New(0);
        while (list != nullptr && PyList_GET_SIZE(list) <= most) {
            PyObject* item = attaching([items] { return PyIter_Next(items); });
            if (item == nullptr) {
                break;
            }
            if (PyList_Append(list, item) != 0) {
                Py_CLEAR(list);
            }
            Py_DECREF(item);
        }
        Py_DECREF(items);
    }
    if (list == nullptr || PyErr_Occurred() != nullptr) {
        Py_CLEAR(list);
        if (PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
            PyErr_Clear();
            raise(types, ErrorClass::argument_type, EINVAL, refusal);
        }
        return nullptr;
    }
    PyObject* items = PyList_GET_SIZE(list) <= most ? PyList_AsTuple(list) : nullptr;
    Py_DECREF(list);
    return items != nullptr || PyErr_Occurred() != nullptr
               ? items
               : raise(types, ErrorClass::argument, EINVAL, too_many);
}

}  // namespace iocp::py
