#include "bindings/arguments.hpp"

#include <cerrno>
#include <climits>
#include <cmath>

#include "backend/address_text.hpp"
#include "backend/families.hpp"

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

bool encode_host(const Types& types, PyObject* value, std::string& out) {
    if (PyUnicode_Check(value)) {
        Py_ssize_t length = 0;
        const char* text = PyUnicode_AsUTF8AndSize(value, &length);
        if (text == nullptr) {
            return renamed(types, "%s is not encodable text", "the host");
        }
        out.assign(text, static_cast<std::size_t>(length));
    } else if (PyBytes_Check(value)) {
        out.assign(PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value)));
    } else {
        return refuse(types, ErrorClass::argument_type, "a host is a str or bytes");
    }
    if (out.find('\0') != std::string::npos) {
        return refuse(types, ErrorClass::argument, "a host holds no zero byte");
    }
    return true;
}

bool to_unix(const Types& types, PyObject* value, Address& out) {
    std::string path;
    if (PyUnicode_Check(value)) {
        PyObject* encoded = PyUnicode_EncodeFSDefault(value);
        if (encoded == nullptr) {
            return false;
        }
        path.assign(PyBytes_AS_STRING(encoded),
                    static_cast<std::size_t>(PyBytes_GET_SIZE(encoded)));
        Py_DECREF(encoded);
    } else if (PyBytes_Check(value)) {
        path.assign(PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value)));
    } else {
        return refuse(types, ErrorClass::argument_type,
                      "the address of an AF_UNIX socket is a path: str or bytes");
    }
    if (!unix_address(path, out)) {
        return refuse(types, ErrorClass::argument, "the AF_UNIX path is too long");
    }
    return true;
}

bool to_number(const Types& types, PyObject* value, unsigned long most, const char* refusal,
               unsigned long& out) {
    if (!PyLong_Check(value)) {
        return refuse(types, ErrorClass::argument_type, refusal);
    }
    const unsigned long number = PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred() != nullptr || number > most) {
        PyErr_Clear();
        return refuse(types, ErrorClass::argument, refusal);
    }
    out = number;
    return true;
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
    const double seconds = PyFloat_AsDouble(value);
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
    const long number = PyLong_AsLong(value);
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
    const Py_ssize_t number = PyNumber_AsSsize_t(value, PyExc_OverflowError);
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

bool to_address(const Types& types, PyObject* value, int family, int socket_type, Address& out) {
    if (family == family_unix) {
        return to_unix(types, value, out);
    }
    if (family != family_inet && family != family_inet6) {
        return refuse(types, ErrorClass::argument, "addresses of this family are not supported");
    }
    const bool six = family == family_inet6;
    const Py_ssize_t size = PyTuple_Check(value) ? PyTuple_GET_SIZE(value) : 0;
    if (size < 2 || size > (six ? 4 : 2)) {
        return refuse(types, ErrorClass::argument_type,
                      six ? "an AF_INET6 address is a tuple (host, port[, flowinfo[, scope_id]])"
                          : "an AF_INET address is a tuple (host, port)");
    }
    AddressText text;
    text.family = family;
    unsigned long port = 0;
    unsigned long flow = 0;
    unsigned long scope = 0;
    if (!encode_host(types, PyTuple_GET_ITEM(value, 0), text.host) ||
        !to_number(types, PyTuple_GET_ITEM(value, 1), 65535, "a port is an int from 0 to 65535",
                   port) ||
        (size > 2 && !to_number(types, PyTuple_GET_ITEM(value, 2), 1048575,
                                "flowinfo is an int from 0 to 1048575", flow)) ||
        (size > 3 && !to_number(types, PyTuple_GET_ITEM(value, 3), UINT32_MAX,
                                "scope_id is an int of 32 bits", scope))) {
        return false;
    }
    text.port = static_cast<std::uint16_t>(port);
    text.flow_info = static_cast<std::uint32_t>(flow);
    text.scope_id = static_cast<std::uint32_t>(scope);
    int code = 0;
    detached([&] { code = address_from_text(text, socket_type, out); });
    if (code != 0) {
        PyObject* message =
            PyUnicode_FromFormat("no %s address for host '%s': %s", six ? "AF_INET6" : "AF_INET",
                                 text.host.c_str(), address_error(code));
        if (message != nullptr) {
            raise(types, ErrorClass::argument, EINVAL, PyUnicode_AsUTF8(message));
            Py_DECREF(message);
        }
        return false;
    }
    return true;
}

PyObject* listed(const Types& types, PyObject* iterable, Py_ssize_t most, const char* refusal,
                 const char* too_many) {
    PyObject* list = nullptr;
    if (PyList_CheckExact(iterable) || PyTuple_CheckExact(iterable)) {
        list = Py_NewRef(iterable);
    } else if (PyObject* items = PyObject_GetIter(iterable)) {
        list = PyList_New(0);
        while (list != nullptr && PyList_GET_SIZE(list) <= most) {
            PyObject* item = PyIter_Next(items);
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
    if (PySequence_Fast_GET_SIZE(list) > most) {
        Py_DECREF(list);
        return raise(types, ErrorClass::argument, EINVAL, too_many);
    }
    return list;
}

PyObject* from_address(const Address& address) {
    const AddressText text = text_from_address(address);
    if (text.family == family_inet) {
        return Py_BuildValue("(si)", text.host.c_str(), static_cast<int>(text.port));
    }
    if (text.family == family_inet6) {
        return Py_BuildValue("(siII)", text.host.c_str(), static_cast<int>(text.port),
                             text.flow_info, text.scope_id);
    }
    if (text.family == family_unix) {
        if (!text.host.empty() && text.host[0] == '\0') {
            return PyBytes_FromStringAndSize(text.host.data(),
                                             static_cast<Py_ssize_t>(text.host.size()));
        }
        return PyUnicode_DecodeFSDefaultAndSize(text.host.data(),
                                                static_cast<Py_ssize_t>(text.host.size()));
    }
    Py_RETURN_NONE;
}

}  // namespace iocp::py
