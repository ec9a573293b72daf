// StreamBase as the native receiver of its Socket: from the core's records to the protocol.
#include <algorithm>
#include <cstring>
#include <utility>

#include "aio/stream_object.hpp"
#include "bindings/exported_view.hpp"
#include "bindings/guarded.hpp"
#include "bindings/port_object.hpp"

namespace iocp::aio {

using py::Held;

namespace {

// Runs a scope in a context. An exception of the scope outlives its end.
class Entered {
public:
    explicit Entered(PyObject* context) noexcept
        : context_(context), entered_(context != nullptr && PyContext_Enter(context) == 0) {}
    ~Entered() {
        if (!entered_) {
            return;
        }
        PyObject* exception = PyErr_GetRaisedException();
        if (PyContext_Exit(context_) < 0 && exception != nullptr) {
            PyErr_Clear();  // the exception of the scope says more
        }
        if (exception != nullptr) {
            PyErr_SetRaisedException(exception);
        }
    }
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;

    // False: an exception is set, or there is no context.
    explicit operator bool() const noexcept { return entered_; }

private:
    PyObject* context_;
    bool entered_;
};

bool ends_the_loop() {
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0 ||
           PyErr_ExceptionMatches(PyExc_SystemExit) != 0;
}

// Judges the result of a method of the transport itself. It raises only what ends the loop, or by a
// fault of the program in a class derived from it.
bool judged(PyObject* self, PyObject* result) {
    if (result != nullptr) {
        Py_DECREF(result);
        return true;
    }
    if (ends_the_loop()) {
        return false;
    }
    attaching([self] { PyErr_WriteUnraisable(self); });
    return true;
}

// Closes the transport of a protocol that raised. False: the exception ends the loop.
bool fail(PyObject* self, const char* message) {
    if (ends_the_loop()) {
        return false;
    }
    const Held exception(PyErr_GetRaisedException());
    return judged(self, attaching([&] {
                      return PyObject_CallMethod(self, "_fatal_error", "(Os)", exception.get(),
                                                 message);
                  }));
}

// Calls a method of the transport in its context.
template <class... Arguments>
bool call_in_context(PyObject* self, const char* name, const char* format, Arguments... arguments) {
    const Held context(taken(self, &StreamFields::context));
    if (context.get() == nullptr) {
        return true;  // the collector has cleared the transport
    }
    const Entered entered(context.get());
    if (!entered) {
        return judged(self, nullptr);
    }
    return judged(self,
                  attaching([&] { return PyObject_CallMethod(self, name, format, arguments...); }));
}

const StreamNames& names_of(PyObject* core) noexcept {
    return static_cast<const StreamNames&>(
        *reinterpret_cast<py::SocketObject*>(core)->binding->types->of_sink);
}

// Calls a method of the protocol with one argument.
PyObject* call_protocol(PyObject* protocol, PyObject* name, PyObject* argument) {
    PyObject* slots[3] = {nullptr, protocol, argument};
    return attaching([&] {
        return PyObject_VectorcallMethod(name, slots + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                         nullptr);
    });
}

bool deliver_bytes(PyObject* self, PyObject* protocol, const StreamNames& names, PyObject* bytes) {
    PyObject* result = call_protocol(protocol, names.data_received, bytes);
    Py_XDECREF(result);
    return result != nullptr || fail(self, "Fatal error: protocol.data_received() call failed.");
}

bool deliver_slice(PyObject* self, PyObject* protocol, const StreamNames& names, Slice&& slice) {
    const Held bytes(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(slice.data()),
                                               static_cast<Py_ssize_t>(slice.length())));
    slice.reset();
    if (bytes.get() == nullptr) {
        return fail(self, "Fatal error: no memory for the data that arrived.");
    }
    return deliver_bytes(self, protocol, names, bytes.get());
}

// Copies a part of the slice to the memory of a BufferedProtocol. Returns its size; 0: an exception
// is set.
std::size_t fill_buffer(PyObject* protocol, const StreamNames& names, const std::byte* data,
                        std::size_t length) {
    const Held memory(call_protocol(protocol, names.get_buffer, names.any_size));
    Py_buffer view;
    if (memory.get() == nullptr ||
        attaching([&] { return py::get_view(memory.get(), view, PyBUF_WRITABLE); }) != 0) {
        return 0;
    }
    const std::size_t size = std::min(length, static_cast<std::size_t>(view.len));
    std::memcpy(view.buf, data, size);
    py::release_view(view);
    if (size == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    return size;
}

// Fills one buffer of the protocol after the other. What it interrupts, by a pause or by another
// protocol, is kept as bytes.
bool deliver_into_buffers(PyObject* self, const StreamNames& names, const std::byte* data,
                          std::size_t left) {
    const StreamFields& fields = fields_of(self);
    while (left != 0 && fields.closing == 0) {
        if (fields.paused != 0 || fields.buffered == 0) {
            const Held rest(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data),
                                                      static_cast<Py_ssize_t>(left)));
            return rest.get() != nullptr
                       ? judged(self, attaching([&] {
                                    return PyObject_CallMethod(self, "_hold", "(O)", rest.get());
                                }))
                       : fail(self, "Fatal error: no memory for the data that arrived.");
        }
        const Held protocol(taken(self, &StreamFields::protocol));
        if (protocol.get() == nullptr) {
            return true;
        }
        const std::size_t size = fill_buffer(protocol.get(), names, data, left);
        if (size == 0) {
            return fail(self, "Fatal error: protocol.get_buffer() call failed.");
        }
        data += size;
        left -= size;
        const Held count(PyLong_FromSize_t(size));
        PyObject* result = count.get() != nullptr
                               ? call_protocol(protocol.get(), names.buffer_updated, count.get())
                               : nullptr;
        Py_XDECREF(result);
        if (result == nullptr) {
            return fail(self, "Fatal error: protocol.buffer_updated() call failed.");
        }
    }
    return true;
}

bool take_data(PyObject* self, Slice&& slice) {
    const StreamFields& fields = fields_of(self);
    if (fields.closing != 0) {
        return true;
    }
    if (slice.length() == 0) {
        return call_in_context(self, "_on_eof", nullptr);
    }
    const Held core(open_core(self));
    const Held protocol(taken(self, &StreamFields::protocol));
    const Held context(taken(self, &StreamFields::context));
    if (core.get() == nullptr || protocol.get() == nullptr || context.get() == nullptr) {
        return true;
    }
    const Entered entered(context.get());
    if (!entered) {
        return fail(self, "Fatal error: protocol.data_received() call failed.");
    }
    const StreamNames& names = names_of(core.get());
    return fields.buffered != 0 ? deliver_into_buffers(self, names, slice.data(), slice.length())
                                : deliver_slice(self, protocol.get(), names, std::move(slice));
}

bool take_fall(PyObject* self) { return call_in_context(self, "_sends_fell", nullptr); }

bool take_failure(PyObject* self, PyObject* exception) {
    return call_in_context(self, "_write_failed", "(O)", exception);
}

bool take_end(PyObject* self, PyObject* exception) {
    return call_in_context(self, "_on_close", "(O)", exception);
}

// _deliver(bytes): delivers data that was held back.
PyObject* deliver(PyObject* self, PyObject* bytes) {
    const Held core(open_core(self));
    const Held protocol(taken(self, &StreamFields::protocol));
    if (!PyBytes_CheckExact(bytes) || core.get() == nullptr || protocol.get() == nullptr) {
        Py_RETURN_NONE;
    }
    const StreamNames& names = names_of(core.get());
    const auto* data = reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes));
    const bool good = fields_of(self).buffered != 0
                          ? deliver_into_buffers(self, names, data,
                                                 static_cast<std::size_t>(PyBytes_GET_SIZE(bytes)))
                          : deliver_bytes(self, protocol.get(), names, bytes);
    if (!good) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

}  // namespace

PyMethodDef stream_delivery_methods[] = {
    {"_deliver", py::guarded<deliver>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

void make_sink(py::DataSink& sink) {
    sink.data = take_data;
    sink.fell = take_fall;
    sink.failed = take_failure;
    sink.closed = take_end;
}

}  // namespace iocp::aio
