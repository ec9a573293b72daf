#include "bindings/arguments.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdio>

#include "bindings/errors.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

constexpr const char* timeout_form = "a number of seconds, 0 or more, or None (no limit)";
constexpr const char* int_form = "an int of at most 32 bits";

// Replaces a TypeError, OverflowError or ValueError of the interpreter by an error of this library
// that names the argument. Any other exception stays set.
bool renamed(const Types& types, const char* name, const char* form, PyObject* given) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0 &&
        PyErr_ExceptionMatches(PyExc_OverflowError) == 0 &&
        PyErr_ExceptionMatches(PyExc_ValueError) == 0) {
        return false;
    }
    const bool type = PyErr_ExceptionMatches(PyExc_TypeError) != 0;
    PyErr_Clear();
    PyObject* message = type ? PyUnicode_FromFormat("%s must be %s, not %.100s", name, form,
                                                    Py_TYPE(given)->tp_name)
                             : PyUnicode_FromFormat("%s must be %s", name, form);
    return refuse(types, type ? ErrorClass::argument_type : ErrorClass::argument, message);
}

}  // namespace

bool refuse_type(const Types& types, const char* expected, PyObject* given) {
    return refuse(types, ErrorClass::argument_type,
                  PyUnicode_FromFormat("%s, not %.100s", expected, Py_TYPE(given)->tp_name));
}

bool to_callback(const Types& types, PyObject* value, PyObject*& out) {
    out = nullptr;
    if (!is_given(value)) {
        return true;
    }
    if (PyCallable_Check(value) == 0) {
        return refuse_type(types, "a callback must be callable, or None", value);
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
        return renamed(types, "timeout", timeout_form, value);
    }
    if (std::isnan(seconds) || seconds < 0) {
        std::array<char, 32> number{};
        (void)std::snprintf(number.data(), number.size(), "%g", seconds);
        return refuse(
            types, ErrorClass::argument,
            PyUnicode_FromFormat("timeout must be %s, not %s", timeout_form, number.data()));
    }
    constexpr double longest = 4e9;  // more than a century, which counts as no limit
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
        return renamed(types, name, int_form, value);
    }
    if (number < INT_MIN || number > INT_MAX) {
        return refuse(types, ErrorClass::argument,
                      PyUnicode_FromFormat("%s must be %s, not %ld", name, int_form, number));
    }
    out = static_cast<int>(number);
    return true;
}

bool to_size(const Types& types, PyObject* value, const char* name, Py_ssize_t minimum,
             Py_ssize_t& out) {
    if (!is_given(value)) {
        return true;
    }
    const Py_ssize_t number =
        attaching([value] { return PyNumber_AsSsize_t(value, PyExc_OverflowError); });
    if (number == -1 && PyErr_Occurred() != nullptr) {
        return renamed(types, name, "an int (a number of bytes)", value);
    }
    constexpr Py_ssize_t maximum = Py_ssize_t{1} << 30;
    if (number < minimum || number > maximum) {
        return refuse(
            types, ErrorClass::argument,
            PyUnicode_FromFormat("%s must be a number of bytes from %zd to 1 GiB, not %zd", name,
                                 minimum, number));
    }
    out = number;
    return true;
}

PyObject* listed(const Types& types, PyObject* iterable, Py_ssize_t maximum, const char* refusal,
                 const char* too_many) {
    if (PyTuple_CheckExact(iterable)) {
        return PyTuple_GET_SIZE(iterable) <= maximum
                   ? Py_NewRef(iterable)
                   : raise(types, ErrorClass::argument, EINVAL, too_many);
    }
    PyObject* list = nullptr;
    if (PyList_CheckExact(iterable)) {
        list = Py_NewRef(iterable);
    } else if (PyObject* items = attaching([iterable] { return PyObject_GetIter(iterable); })) {
        list = PyList_New(0);
        while (list != nullptr && PyList_GET_SIZE(list) <= maximum) {
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
    PyObject* items = PyList_GET_SIZE(list) <= maximum ? PyList_AsTuple(list) : nullptr;
    Py_DECREF(list);
    return items != nullptr || PyErr_Occurred() != nullptr
               ? items
               : raise(types, ErrorClass::argument, EINVAL, too_many);
}

}  // namespace iocp::py
