#include "bindings/address_argument.hpp"

#include <cerrno>

#include "backend/address_text.hpp"
#include "backend/families.hpp"
#include "bindings/critical_section.hpp"
#include "bindings/errors.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

bool refuse(const Types& types, ErrorClass which, const char* text) {
    raise(types, which, EINVAL, text);
    return false;
}

// Replaces the UnicodeError of a codec by an ArgumentError with the UnicodeError as its cause. Any
// other exception stays set.
bool refuse_encoding(const Types& types, const char* what, PyObject* value) {
    if (PyErr_ExceptionMatches(PyExc_UnicodeError) == 0) {
        return false;
    }
    PyObject* cause = PyErr_GetRaisedException();
    (void)refuse(types, ErrorClass::argument,
                 PyUnicode_FromFormat("%s %A cannot be encoded: %S", what, value, cause));
    PyObject* exception = PyErr_GetRaisedException();
    PyException_SetCause(exception, cause);
    PyErr_SetRaisedException(exception);
    return false;
}

void take_bytes(PyObject* value, std::string& out) {
    if (PyBytes_Check(value)) {
        out.assign(PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value)));
        return;
    }
    const CriticalSection section(value);
    out.assign(PyByteArray_AS_STRING(value), static_cast<std::size_t>(PyByteArray_GET_SIZE(value)));
}

bool is_bytes(PyObject* value) { return PyBytes_Check(value) || PyByteArray_Check(value); }

// Converts the path of an AF_UNIX address. Rejects a zero byte in it, because the system would end
// the path there and name another file. Only abstract names may contain zero bytes.
bool to_unix(const Types& types, PyObject* value, Address& out) {
    std::string path;
    if (is_bytes(value)) {
        take_bytes(value, path);
    } else {
        auto* type = reinterpret_cast<PyObject*>(Py_TYPE(value));
        if (!PyUnicode_Check(value) && PyObject_HasAttrString(type, "__fspath__") == 0) {
            return refuse(
                types, ErrorClass::argument_type,
                "the address of an AF_UNIX socket must be a path: str, bytes or os.PathLike");
        }
        PyObject* written = attaching([value] { return PyOS_FSPath(value); });
        if (written == nullptr) {
            return false;
        }
        PyObject* encoded =
            PyUnicode_Check(written) ? PyUnicode_EncodeFSDefault(written) : Py_NewRef(written);
        Py_DECREF(written);
        if (encoded == nullptr) {
            return refuse_encoding(types, "the AF_UNIX path", value);
        }
        take_bytes(encoded, path);
        Py_DECREF(encoded);
    }
    if (!path.empty() && path[0] != '\0' && path.find('\0') != std::string::npos) {
        return refuse(types, ErrorClass::argument, "an AF_UNIX path must not contain a zero byte");
    }
    if (!unix_address(path, out)) {
        return refuse(types, ErrorClass::argument,
                      "the AF_UNIX path is too long for the system; use a shorter one");
    }
    return true;
}

bool to_number(const Types& types, PyObject* value, unsigned long maximum, const char* refusal,
               unsigned long& out) {
    if (PyIndex_Check(value) == 0) {
        return refuse(types, ErrorClass::argument_type, refusal);
    }
    PyObject* index = attaching([value] { return PyNumber_Index(value); });
    if (index == nullptr) {
        return false;
    }
    out = PyLong_AsUnsignedLong(index);
    Py_DECREF(index);
    if (PyErr_Occurred() != nullptr || out > maximum) {
        PyErr_Clear();
        return refuse(types, ErrorClass::argument, refusal);
    }
    return true;
}

const char* name_of(int family) { return family == family_inet6 ? "AF_INET6" : "AF_INET"; }

bool refuse_lookup(const Types& types, PyObject* host, int family, const Resolution& outcome) {
    switch (outcome.what) {
        case Resolution::What::found:
        case Resolution::What::name:
            break;
        case Resolution::What::other_family:
            return refuse(types, ErrorClass::argument,
                          PyUnicode_FromFormat(
                              "host %R is of another family than the socket; give an address of %s",
                              host, name_of(family)));
        case Resolution::What::system_error:
            raise(nullptr, types, Error{Fault::system, outcome.code});
            return false;
        case Resolution::What::not_found: {
            PyObject* module = PyImport_ImportModule("socket");
            PyObject* type =
                module != nullptr ? PyObject_GetAttrString(module, "gaierror") : nullptr;
            PyObject* message =
                PyUnicode_FromFormat("no %s address for host %R: %s", name_of(family), host,
                                     address_error(outcome.code));
            PyObject* arguments =
                message != nullptr ? Py_BuildValue("(iO)", outcome.code, message) : nullptr;
            if (type != nullptr && arguments != nullptr) {
                PyErr_SetObject(type, arguments);
            }
            Py_XDECREF(arguments);
            Py_XDECREF(message);
            Py_XDECREF(type);
            Py_XDECREF(module);
            return false;
        }
    }
    return true;
}

}  // namespace

bool to_host(const Types& types, PyObject* value, std::string& out) {
    if (is_bytes(value)) {
        take_bytes(value, out);
    } else if (!PyUnicode_Check(value)) {
        return refuse(types, ErrorClass::argument_type, "a host must be a str, bytes or bytearray");
    } else if (PyUnicode_IS_ASCII(value) != 0) {
        Py_ssize_t length = 0;
        const char* text = PyUnicode_AsUTF8AndSize(value, &length);
        if (text == nullptr) {
            return false;
        }
        out.assign(text, static_cast<std::size_t>(length));
    } else {
        PyObject* encoded = PyUnicode_AsEncodedString(value, "idna", nullptr);
        if (encoded == nullptr) {
            return refuse_encoding(types, "the host", value);
        }
        take_bytes(encoded, out);
        Py_DECREF(encoded);
    }
    if (out.find('\0') != std::string::npos) {
        return refuse(types, ErrorClass::argument, "a host must not contain a zero byte");
    }
    return true;
}

bool to_address(const Types& types, PyObject* value, int family, Address& out) {
    if (family == family_unix) {
        return to_unix(types, value, out);
    }
    if (family != family_inet && family != family_inet6) {
        return refuse(
            types, ErrorClass::argument,
            "addresses of this family are not supported; use AF_INET, AF_INET6 or AF_UNIX");
    }
    const bool six = family == family_inet6;
    const Py_ssize_t size = PyTuple_Check(value) ? PyTuple_GET_SIZE(value) : 0;
    if (size < 2 || size > (six ? 4 : 2)) {
        return refuse(
            types, ErrorClass::argument_type,
            six ? "an AF_INET6 address must be a tuple (host, port[, flowinfo[, scope_id]])"
                : "an AF_INET address must be a tuple (host, port)");
    }
    PyObject* host = PyTuple_GET_ITEM(value, 0);
    AddressText text;
    text.family = family;
    unsigned long port = 0;
    unsigned long flow = 0;
    unsigned long scope = 0;
    if (!to_host(types, host, text.host) ||
        !to_number(types, PyTuple_GET_ITEM(value, 1), 65535,
                   "a port must be an int from 0 to 65535", port) ||
        (size > 2 && !to_number(types, PyTuple_GET_ITEM(value, 2), 1048575,
                                "flowinfo must be an int from 0 to 1048575", flow)) ||
        (size > 3 && !to_number(types, PyTuple_GET_ITEM(value, 3), UINT32_MAX,
                                "scope_id must be an int from 0 to 4294967295", scope))) {
        return false;
    }
    text.port = static_cast<std::uint16_t>(port);
    text.flow_info = static_cast<std::uint32_t>(flow);
    text.scope_id = static_cast<std::uint32_t>(scope);
    Resolution outcome;
    detached([&] { outcome = address_from_text(text, out); });
    return refuse_lookup(types, host, family, outcome);
}

PyObject* address_or_name(const Types& types, PyObject* host, int port, int family) {
    AddressText text;
    if (!to_host(types, host, text.host)) {
        return nullptr;
    }
    text.port = static_cast<std::uint16_t>(port);
    text.family = family == family_inet6 ? family_inet6 : family_inet;
    Address address;
    Resolution outcome = address_from_text(text, address, false);
    if (outcome.what == Resolution::What::other_family && family == 0) {
        text.family = family_inet6;
        outcome = address_from_text(text, address, false);
    }
    if (outcome.what == Resolution::What::name) {
        return PyBytes_FromStringAndSize(text.host.data(),
                                         static_cast<Py_ssize_t>(text.host.size()));
    }
    if (!refuse_lookup(types, host, text.family, outcome)) {
        return nullptr;
    }
    return Py_BuildValue("(iN)", text.family, from_address(address));
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
