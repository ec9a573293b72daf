#include "bindings/file.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "backend/sent_file.hpp"
#include "bindings/errors.hpp"
#include "bindings/port_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

// Opens a file by its path until the scope ends, so that its descriptor can be duplicated.
class Opened {
public:
    Opened() = default;
    ~Opened() {
        if (file_ != nullptr) {
            PyObject* raised = PyErr_GetRaisedException();
            Py_XDECREF(PyObject_CallMethod(file_, "close", nullptr));
            Py_DECREF(file_);
            PyErr_Clear();
            PyErr_SetRaisedException(raised);
        }
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

    PyObject* open(PyObject* path) {
        PyObject* io = PyImport_ImportModule("io");
        if (io == nullptr) {
            return nullptr;
        }
        // Converts the path to str or bytes first, because FileIO would take an object that also
        // has __index__() for a descriptor.
        PyObject* name = attaching([path] { return PyOS_FSPath(path); });
        file_ = name != nullptr ? PyObject_CallMethod(io, "FileIO", "O", name) : nullptr;
        Py_XDECREF(name);
        Py_DECREF(io);
        return file_;
    }

private:
    PyObject* file_{nullptr};
};

bool is_path(PyObject* file) {
    return PyUnicode_Check(file) || PyBytes_Check(file) ||
           PyObject_HasAttrString(file, "__fspath__") != 0;
}

bool refuse(const Types& types, ErrorClass which, const char* text) {
    raise(types, which, EINVAL, text);
    return false;
}

bool duplicate(PortObject& port, PyObject* file, std::unique_ptr<SentFile>& out) {
    const Types& types = *port.types;
    Opened opened;
    if (is_path(file)) {
        file = opened.open(file);
        if (file == nullptr) {
            return false;
        }
    }
    const int descriptor =
        PyBool_Check(file) ? -1 : attaching([file] { return PyObject_AsFileDescriptor(file); });
    if (descriptor < 0) {
        const bool unfit = PyErr_Occurred() == nullptr ||
                           PyErr_ExceptionMatches(PyExc_TypeError) != 0 ||
                           PyErr_ExceptionMatches(PyExc_ValueError) != 0 ||
                           PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
        return unfit &&
               refuse(types, ErrorClass::argument_type,
                      "send_file() needs a path, a descriptor, or a file object with fileno()");
    }
    Handle handle = no_handle;
    if (!handle_of_descriptor(descriptor, handle)) {
        return false;
    }
    if (const int code = SentFile::duplicate(handle, out); code != 0) {
        raise(&port, types, locked(port, [&] { return system_error(port.core->backend(), code); }));
        return false;
    }
    return out->length() >= 0 ||
           refuse(types, ErrorClass::argument,
                  "send_file() needs a regular file; read from another file and send its bytes");
}

bool to_bytes(const Types& types, PyObject* value, const char* refusal, std::int64_t& out) {
    if (value == nullptr || value == Py_None) {
        return true;
    }
    out = PyLong_Check(value) ? PyLong_AsLongLong(value) : -1;
    if (out < 0) {
        PyErr_Clear();
        return refuse(types, PyLong_Check(value) ? ErrorClass::argument : ErrorClass::argument_type,
                      refusal);
    }
    return true;
}

}  // namespace

bool lease_file(PortObject& port, PyObject* file, PyObject* offset, PyObject* count, Lease& out) {
    const Types& types = *port.types;
    std::int64_t from = 0;
    std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
    std::unique_ptr<SentFile> sent;
    if (!to_bytes(types, offset, "offset must be a number of bytes from 0 to 2**63 - 1", from) ||
        !to_bytes(types, count, "count must be a number of bytes from 0 to 2**63 - 1, or None",
                  maximum) ||
        !duplicate(port, file, sent)) {
        return false;
    }
    const std::int64_t there = std::max(sent->length() - from, std::int64_t{0});
    sent->offset = static_cast<std::uint64_t>(from);
    out = SentFile::lease(std::move(sent), static_cast<std::size_t>(std::min(there, maximum)));
    return true;
}

}  // namespace iocp::py
