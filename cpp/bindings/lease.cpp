// Leases of the memory of Python objects. An operation holds its leases until its completion is
// handed out. A thread that gives one back is attached to the interpreter.
#include "bindings/lease.hpp"

#include <cerrno>
#include <limits>
#include <new>

#include "bindings/arguments.hpp"
#include "bindings/buffer_object.hpp"
#include "bindings/critical_section.hpp"
#include "bindings/errors.hpp"
#include "bindings/exported_view.hpp"
#include "bindings/held.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

constexpr Py_ssize_t max_slices = 1024;  // Linux: IOV_MAX; Windows: the maximum of WSABUFs

void release_object(void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); }

void release_region(void* owner) { static_cast<Region*>(owner)->drop_reference(); }

void release_owned_view(void* owner) {
    auto* view = static_cast<Py_buffer*>(owner);
    release_view(*view);
    delete view;
}

// Replaces a TypeError, ValueError or BufferError of the object that exports the buffer by an error
// of this library. Any other exception stays set.
void refuse_source(const Types& types, const char* refusal) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
        PyErr_Clear();
        raise(types, ErrorClass::argument_type, EINVAL, refusal);
        return;
    }
    const bool value = PyErr_ExceptionMatches(PyExc_ValueError) != 0;
    if (!value && PyErr_ExceptionMatches(PyExc_BufferError) == 0) {
        return;
    }
    PyObject* raised = PyErr_GetRaisedException();
    PyObject* text = PyUnicode_FromFormat("%s (%S)", refusal, raised);
    Py_DECREF(raised);
    const char* message = text != nullptr ? PyUnicode_AsUTF8(text) : nullptr;
    if (message != nullptr) {
        raise(types, value ? ErrorClass::argument : ErrorClass::argument_type, EINVAL, message);
    }
    Py_XDECREF(text);
}

bool lease_view(const Types& types, PyObject* source, int flags, const char* refusal, Lease& out) {
    auto* view = new (std::nothrow) Py_buffer;
    if (view == nullptr) {
        PyErr_NoMemory();
        return false;
    }
    if (attaching([&] { return get_view(source, *view, flags); }) != 0) {
        delete view;
        refuse_source(types, refusal);
        return false;
    }
    out = {static_cast<std::byte*>(view->buf), static_cast<std::size_t>(view->len), view,
           release_owned_view};
    return true;
}

}  // namespace

bool lease_bytes(const Types& types, PyObject* source, Lease& out) {
    if (PyBytes_CheckExact(source)) {
        out = {reinterpret_cast<std::byte*>(PyBytes_AS_STRING(source)),
               static_cast<std::size_t>(PyBytes_GET_SIZE(source)), Py_NewRef(source),
               release_object};
        return true;
    }
    if (Py_IS_TYPE(source, types.buffer)) {
        auto& buffer = *reinterpret_cast<BufferObject*>(source);
        const CriticalSection section(source);
        out = {};
        if (buffer.region != nullptr) {
            buffer.region->add_reference();
            out = {buffer.data, static_cast<std::size_t>(buffer.length), buffer.region,
                   release_region};
        }
        return true;
    }
    return lease_view(types, source, PyBUF_SIMPLE,
                      "data must be a contiguous bytes-like object, such as bytes, bytearray, "
                      "memoryview or Buffer",
                      out);
}

bool lease_writable(const Types& types, PyObject* target, Lease& out) {
    return lease_view(types, target, PyBUF_WRITABLE,
                      "a receive needs a writable, contiguous buffer, such as a bytearray", out);
}

bool lease_each(const Types& types, PyObject* buffers, LeaseOne* lease_one,
                std::vector<Lease>& leases, std::vector<ConstBytes>& parts, std::size_t& total) {
    if (PyBytes_Check(buffers) || PyByteArray_Check(buffers) || PyUnicode_Check(buffers) ||
        Py_IS_TYPE(buffers, types.buffer)) {
        raise(types, ErrorClass::argument_type, EINVAL,
              "buffers must be an iterable of buffers; use send() or recv_into() for a single one");
        return false;
    }
    const Held sequence(
        listed(types, buffers, max_slices,
               "buffers must be an iterable of buffers, such as a list of bytes-like objects",
               "one post takes at most 1024 buffers; join some or post twice"));
    if (sequence.get() == nullptr) {
        return false;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(sequence.get());
    if (count == 0) {
        raise(types, ErrorClass::argument, EINVAL,
              "the list of buffers is empty; give at least one");
        return false;
    }
    leases.reserve(static_cast<std::size_t>(count));
    parts.reserve(static_cast<std::size_t>(count));
    bool good = true;
    for (Py_ssize_t i = 0; i < count && good; ++i) {
        Lease lease;
        good = lease_one(types, PyTuple_GET_ITEM(sequence.get(), i), lease);
        if (good && lease.length > std::numeric_limits<std::size_t>::max() / 2 - total) {
            lease.give_back();
            raise(types, ErrorClass::argument, EINVAL,
                  "the buffers are too long together; post fewer of them");
            good = false;
        }
        if (good) {
            total += lease.length;
            parts.push_back({lease.data, lease.length});
            leases.push_back(lease);
        }
    }
    return good;
}

}  // namespace iocp::py
