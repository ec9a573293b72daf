// StreamBase: writes. The first write of a turn goes at once; those that follow in the same turn
// are gathered, and go in one request when the next turn begins.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <mutex>

#include "aio/stream_object.hpp"
#include "base/process.hpp"
#include "bindings/errors.hpp"
#include "bindings/exported_view.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/port_object.hpp"

namespace iocp::aio {

using py::guarded;
using py::Held;

namespace {

// The state of the socket's queue after a write.
struct Queued {
    std::uint64_t bytes{0};  // that are not sent yet
    bool waits{false};       // a budget or a cap keeps the write from the system
};

void release_object(void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); }

// Sends what the system takes at once, unless the transport has sent by a call in this turn, or
// earlier writes wait. Needs the port's lock.
Error send_first(StreamFields& fields, Port& port, Socket& socket, const std::byte* data,
                 std::size_t length, std::size_t& went) {
    if (length == 0 || !socket.sending.idle() || fields.turn == port.figures().turn_number()) {
        return {};
    }
    fields.turn = port.figures().turn_number();
    std::int64_t count = 0;
    const Error error = port.operations().try_send(socket, data, length, count);
    went = static_cast<std::size_t>(count);
    return error;
}

// Queues bytes that `owner` keeps, behind all earlier ones. With an error the caller still has the
// reference to the owner. Needs the port's lock.
Error queue(Port& port, Socket& socket, const Lease& lease, bool gathers, Queued& queued) {
    Operation* op = port.operations().create(socket, OperationKind::send);
    if (op == nullptr) {
        return Error::of(Fault::resource, "no memory for a send; write again when some is free");
    }
    op->lease = lease;
    op->muted = true;
    op->gathers = gathers;
    op->batched = true;
    if (Error refused = port.operations().submit(*op)) {
        op->lease = {};
        port.operations().discard(*op);
        return refused;
    }
    queued.bytes = socket.sending.bytes;
    const bool asked_to = socket.send_strategy == SendStrategy::when_writable;
    queued.waits = queued.waits || op->held || (op->readiness_only && !asked_to);
    return {};
}

// Writes of at most this many bytes are copied: a copy costs less than a send of its own.
constexpr std::size_t small = 1024;

// Copies bytes behind those of the last write, or to a page of their own. Needs the port's lock.
Error gather(py::PortObject& port, Socket& socket, const std::byte* data, std::size_t length,
             Queued& queued) {
    if (port.core->operations().append(socket, data, length)) {
        queued.bytes = socket.sending.bytes;
        return {};
    }
    Region* page = port.pool->take(system_page_size());
    if (page == nullptr) {
        return Error::of(Fault::resource, "no memory for a send; write again when some is free");
    }
    std::memcpy(page->data(), data, length);
    Lease lease{page->data(), length, page,
                [](void* owner) { static_cast<Region*>(owner)->drop_reference(); }};
    const Error error = queue(*port.core, socket, lease, true, queued);
    if (error) {
        lease.give_back();
    }
    return error;
}

Lease lease_of(PyObject* bytes, std::size_t from) noexcept {
    return {reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)) + from,
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes)) - from, bytes, release_object};
}

PyObject* fail(PyObject* self, py::SocketObject& socket, const Error& error) {
    py::raise(socket.binding, *socket.binding->types, error);
    const Held exception(PyErr_GetRaisedException());
    return attaching(
        [&] { return PyObject_CallMethod(self, "_write_failed", "(O)", exception.get()); });
}

// Sends what the system takes of the gathered writes. Returns the bytes that are left.
std::uint64_t flush(py::SocketObject& socket) {
    return py::locked(*socket.binding, [&]() -> std::uint64_t {
        Socket* target = socket.core.get();
        if (target == nullptr || target->sending.idle()) {
            return 0;
        }
        socket.binding->core->sockets().flush(*target);
        return target->sending.bytes;
    });
}

PyObject* call(PyObject* self, const char* name) {
    return attaching([&] { return PyObject_CallMethod(self, name, nullptr); });
}

bool kept(const py::SocketObject& socket) {
    const std::lock_guard guard(socket.binding->links_mutex);
    return socket.links.linked();
}

// Ends a write. A queue over the high mark is flushed before the protocol is paused.
PyObject* written(PyObject* self, py::SocketObject& socket, const Queued& queued) {
    if (queued.bytes == 0) {
        Py_RETURN_NONE;
    }
    if (queued.waits) {
        return call(self, "_pause_for_budget");
    }
    const std::size_t high = fields_of(self).high;
    if (queued.bytes > high && flush(socket) > high) {
        return call(self, "_maybe_pause_protocol");
    }
    if (!kept(socket)) {
        return call(self, "_keep_until_sent");
    }
    Py_RETURN_NONE;
}

// Makes `work` with the open socket, under the lock. `work` returns an Error.
template <class Work>
Error with_target(py::SocketObject& socket, Work&& work) {
    return py::locked(*socket.binding, [&]() -> Error {
        Socket* target = socket.core.get();
        return target != nullptr ? work(*target) : socket_is_closed;
    });
}

PyObject* write_bytes(PyObject* self, py::SocketObject& socket, PyObject* bytes) {
    StreamFields& fields = fields_of(self);
    py::PortObject& port = *socket.binding;
    Queued queued;
    Py_INCREF(bytes);
    bool leased = false;
    const Error error = with_target(socket, [&](Socket& target) -> Error {
        const Lease all = lease_of(bytes, 0);
        std::size_t went = 0;
        if (Error refused = send_first(fields, *port.core, target, all.data, all.length, went)) {
            return refused;
        }
        if (all.length - went <= small) {
            return went != all.length
                       ? gather(port, target, all.data + went, all.length - went, queued)
                       : Error{};
        }
        const Error refused = queue(*port.core, target, lease_of(bytes, went), false, queued);
        leased = !refused;
        return refused;
    });
    if (!leased) {
        Py_DECREF(bytes);
    }
    return error ? fail(self, socket, error) : written(self, socket, queued);
}

// A view of memory that the caller may change after the call. It is given back when the scope ends.
class View {
public:
    View() = default;
    ~View() {
        if (taken_) {
            py::release_view(view_);
        }
    }
    View(const View&) = delete;
    View& operator=(const View&) = delete;

    // False: an exception is set.
    [[nodiscard]] bool take(PyObject* data) {
        taken_ = attaching([&] { return py::get_view(data, view_, PyBUF_SIMPLE); }) == 0;
        return taken_;
    }
    [[nodiscard]] const std::byte* data() const noexcept {
        return static_cast<const std::byte*>(view_.buf);
    }
    [[nodiscard]] std::size_t length() const noexcept {
        return static_cast<std::size_t>(view_.len);
    }

private:
    Py_buffer view_{};
    bool taken_{false};
};

// Writes memory that the caller may change: what does not go at once is copied.
PyObject* write_view(PyObject* self, py::SocketObject& socket, PyObject* data) {
    View view;
    if (!view.take(data)) {
        if (PyErr_ExceptionMatches(PyExc_BufferError) == 0) {
            return nullptr;
        }
        PyErr_Clear();  // a memoryview with gaps
        const Held bytes(PyBytes_FromObject(data));
        return bytes.get() != nullptr ? write_bytes(self, socket, bytes.get()) : nullptr;
    }
    StreamFields& fields = fields_of(self);
    py::PortObject& port = *socket.binding;
    Queued queued;
    std::size_t went = 0;
    const Error error = with_target(socket, [&](Socket& target) -> Error {
        if (Error refused =
                send_first(fields, *port.core, target, view.data(), view.length(), went)) {
            return refused;
        }
        const std::size_t rest = view.length() - went;
        if (rest == 0 || rest > small) {
            return {};
        }
        const std::byte* at = view.data() + went;
        went += rest;
        return gather(port, target, at, rest, queued);
    });
    if (error || went == view.length()) {
        return error ? fail(self, socket, error) : written(self, socket, queued);
    }
    const Held rest(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.data() + went),
                                              static_cast<Py_ssize_t>(view.length() - went)));
    return rest.get() != nullptr ? write_bytes(self, socket, rest.get()) : nullptr;
}

bool takes_writes(const StreamFields& fields) noexcept {
    return fields.conn_lost == 0 && fields.eof == 0 && fields.sending_file == 0 &&
           fields.write_error == nullptr;
}

PyObject* write(PyObject* self, PyObject* data) {
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        return PyErr_Format(PyExc_TypeError,
                            "data argument must be a bytes-like object, not '%.200s'",
                            Py_TYPE(data)->tp_name);
    }
    const py::CriticalSection section(self);
    const Held core(open_core(self));
    if (core.get() == nullptr || !takes_writes(fields_of(self))) {
        return attaching([&] { return PyObject_CallMethod(self, "_refuse_write", "(O)", data); });
    }
    py::SocketObject& socket = *socket_in(core);
    if (!py::usable(*socket.binding)) {
        return nullptr;
    }
    if (!PyBytes_CheckExact(data)) {
        return write_view(self, socket, data);
    }
    return write_bytes(self, socket, data);
}

// Joining copies, and a send of its own costs more than the copy of this many bytes.
constexpr Py_ssize_t worth_a_send = 2048;

// Returns whether every item is bytes, and large enough on average to be queued without a copy.
bool worth_gathering(PyObject* items) noexcept {
    Py_ssize_t total = 0;
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject* item = PyTuple_GET_ITEM(items, i);
        if (!PyBytes_CheckExact(item)) {
            return false;
        }
        total += std::min(PyBytes_GET_SIZE(item), std::numeric_limits<Py_ssize_t>::max() - total);
    }
    return count > 1 && total / count >= worth_a_send;
}

PyObject* write_each(PyObject* self, py::SocketObject& socket, PyObject* items) {
    StreamFields& fields = fields_of(self);
    Queued queued;
    Port& port = *socket.binding->core;
    const Error error = with_target(socket, [&](Socket& target) -> Error {
        const bool at_once = target.sending.idle() && fields.turn != port.figures().turn_number();
        fields.turn = port.figures().turn_number();
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); ++i) {
            PyObject* bytes = PyTuple_GET_ITEM(items, i);
            if (PyBytes_GET_SIZE(bytes) == 0) {
                continue;
            }
            if (Error refused = queue(port, target, lease_of(bytes, 0), false, queued)) {
                return refused;
            }
            Py_INCREF(bytes);
        }
        if (at_once) {
            port.sockets().flush(target);
            queued.bytes = target.sending.bytes;
        }
        return {};
    });
    return error ? fail(self, socket, error) : written(self, socket, queued);
}

PyObject* writelines(PyObject* self, PyObject* lines) {
    const Held items(attaching([lines] { return PySequence_Tuple(lines); }));
    if (items.get() == nullptr) {
        return nullptr;
    }
    {
        const py::CriticalSection section(self);
        const Held core(open_core(self));
        if (core.get() != nullptr && takes_writes(fields_of(self)) &&
            worth_gathering(items.get())) {
            py::SocketObject& socket = *socket_in(core);
            return py::usable(*socket.binding) ? write_each(self, socket, items.get()) : nullptr;
        }
    }
    const Held empty(PyBytes_FromStringAndSize(nullptr, 0));
    const Held joined(empty.get() != nullptr ? attaching([&] {
        return PyObject_CallMethod(empty.get(), "join", "(O)", items.get());
    })
                                             : nullptr);
    return joined.get() != nullptr
               ? attaching([&] { return PyObject_CallMethod(self, "write", "(O)", joined.get()); })
               : nullptr;
}

PyObject* get_write_buffer_size(PyObject* self, PyObject* /*unused*/) {
    const Held core(open_core(self));
    const std::uint64_t bytes =
        core.get() != nullptr
            ? py::peek(*socket_in(core), std::uint64_t{0},
                       [](const Socket& target) { return std::uint64_t{target.sending.bytes}; })
            : 0;
    return PyLong_FromUnsignedLongLong(bytes);
}

// _flush(): sends what the system takes of the gathered writes. Returns the bytes that are left.
PyObject* flush_now(PyObject* self, PyObject* /*unused*/) {
    const Held core(open_core(self));
    const bool open = core.get() != nullptr && socket_in(core)->binding->usable();
    return PyLong_FromUnsignedLongLong(open ? flush(*socket_in(core)) : 0);
}

// _expect_fall(bytes): has _sends_fell() called, once, when at most so many bytes are left.
PyObject* expect_fall(PyObject* self, PyObject* given) {
    const double bytes = PyFloat_AsDouble(given);
    if (bytes == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
    const std::uint32_t low =
        bytes < most ? static_cast<std::uint32_t>(std::max(bytes, 0.0)) : most;
    const Held core(open_core(self));
    if (core.get() != nullptr && socket_in(core)->binding->usable()) {
        py::SocketObject& socket = *socket_in(core);
        py::locked(*socket.binding, [&] {
            if (Socket* target = socket.core.get()) {
                socket.binding->core->sockets().expect_fall(*target, low);
            }
            return 0;
        });
    }
    Py_RETURN_NONE;
}

// _note_high(bytes): the mark above which the protocol pauses.
PyObject* note_high(PyObject* self, PyObject* given) {
    const double bytes = PyFloat_AsDouble(given);
    if (bytes == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    constexpr auto most = static_cast<double>(std::uint64_t{1} << 48U);
    fields_of(self).high = static_cast<std::size_t>(std::clamp(bytes, 0.0, most));
    Py_RETURN_NONE;
}

}  // namespace

PyMethodDef stream_writing_methods[] = {
    {"write", guarded<write>, METH_O,
     "write(data) -> None\n\n"
     "Sends bytes, and does not wait. The first write of a turn goes to the system at once, as\n"
     "far as it takes it. Those that follow are sent together when the turn ends."},
    {"writelines", guarded<writelines>, METH_O,
     "writelines(list_of_data) -> None\n\nSends the items of an iterable one after the other."},
    {"get_write_buffer_size", guarded<get_write_buffer_size>, METH_NOARGS,
     "get_write_buffer_size() -> int\n\n"
     "Returns the number of bytes that the system has not taken yet."},
    {"_flush", guarded<flush_now>, METH_NOARGS, nullptr},
    {"_expect_fall", guarded<expect_fall>, METH_O, nullptr},
    {"_note_high", guarded<note_high>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::aio
