// The strategies of a Socket, its marks for queued sends, and pauses of its subscription.
#include <cerrno>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/links.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/standing.hpp"
#include "bindings/types.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

constexpr std::pair<const char*, ReceiveStrategy> receive_names[] = {
    {"pooled", ReceiveStrategy::pooled},
    {"direct", ReceiveStrategy::direct},
    {"zero_byte", ReceiveStrategy::zero_byte}};
constexpr std::pair<const char*, SendStrategy> send_names[] = {
    {"buffered", SendStrategy::buffered},
    {"when_writable", SendStrategy::when_writable},
    {"direct", SendStrategy::direct}};

template <class Value, std::size_t N>
bool find_named(PyObject* given, const std::pair<const char*, Value> (&names)[N], Value& out) {
    for (const auto& [name, value] : names) {
        if (given != nullptr && PyUnicode_Check(given) &&
            PyUnicode_CompareWithASCIIString(given, name) == 0) {
            out = value;
            return true;
        }
    }
    return false;
}

template <class Value, std::size_t N>
const char* name_of(Value wanted, const std::pair<const char*, Value> (&names)[N]) {
    for (const auto& [name, value] : names) {
        if (value == wanted) {
            return name;
        }
    }
    return "";
}

PyObject* get_receive_strategy(PyObject* self, void* /*unused*/) {
    const Standing found = standing(socket_of(self));
    if (!found.stands) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(found.adaptive ? "adaptive"
                                               : name_of(found.strategy, receive_names));
}

int set_receive_strategy(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    std::optional<ReceiveStrategy> strategy;
    if (given == nullptr) {
        raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
              "receive_strategy cannot be deleted; set it to another strategy");
        return -1;
    }
    if (!to_strategy(*socket.binding->types, given, strategy) || !usable(*socket.binding) ||
        (standing(socket).stands && !warn_before_strategy(socket, strategy))) {
        return -1;
    }
    return with_open(socket,
                     [&](Socket& core) {
                         return socket.binding->core->sockets().set_receive_strategy(core,
                                                                                     strategy);
                     })
               ? 0
               : -1;
}

PyObject* get_receiving_by(PyObject* self, void* /*unused*/) {
    const Standing found = standing(socket_of(self));
    if (!found.stands) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(name_of(found.strategy, receive_names));
}

PyObject* get_send_strategy(PyObject* self, void* /*unused*/) {
    return PyUnicode_FromString(name_of(peek(socket_of(self), SendStrategy::buffered,
                                             [](const Socket& core) { return core.send_strategy; }),
                                        send_names));
}

int set_send_strategy(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = socket_of(self);
    SendStrategy strategy{};
    if (!find_named(given, send_names, strategy)) {
        raise(*socket.binding->types, ErrorClass::argument, EINVAL,
              "send_strategy must be 'buffered', 'when_writable' or 'direct'");
        return -1;
    }
    return with_open(socket,
                     [&](Socket& core) {
                         return socket.binding->core->sockets().set_send_strategy(core, strategy);
                     })
               ? 0
               : -1;
}

SendMarks marks_of(SocketObject& socket) {
    return peek(socket, SendMarks{}, [](const Socket& core) { return core.marks; });
}

PyObject* get_send_marks(PyObject* self, void* /*unused*/) {
    const SendMarks marks = marks_of(socket_of(self));
    return Py_BuildValue("(III)", marks.high, marks.low, marks.cap);
}

PyObject* get_send_paused(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(
        peek(socket_of(self), false, [](const Socket& core) { return bool{core.send_paused}; })
            ? 1
            : 0);
}

bool to_mark(const Types& types, PyObject* given, const char* name, std::uint32_t& out) {
    auto value = static_cast<Py_ssize_t>(out);
    if (!to_size(types, given, name, 0, value)) {
        return false;
    }
    out = static_cast<std::uint32_t>(value);
    return true;
}

// Replaces a callback that a Socket stores. None removes the callback; an argument that was not
// given leaves it unchanged.
class Replacement {
public:
    Replacement(PortObject& port, PyObject*& field) noexcept : port_(port), field_(field) {}
    ~Replacement() { Py_XDECREF(other_); }
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;

    // Converts the argument to the new callback. False: an exception is set.
    bool take(PyObject* given) {
        given_ = given != nullptr;
        PyObject* callback = nullptr;
        const bool good = !given_ || to_callback(*port_.types, given, callback);
        other_ = Py_XNewRef(callback);
        return good;
    }
    // Stores the new callback. A second call restores the old one.
    void swap() noexcept {
        if (given_) {
            other_ = replaced(port_, field_, other_);
        }
    }

private:
    PortObject& port_;
    PyObject*& field_;
    PyObject* other_{nullptr};
    bool given_{false};
};

PyObject* set_send_marks(PyObject* self, PyObject* const* given, Py_ssize_t count,
                         PyObject* keywords) {
    static constexpr Signature<5> signature{
        "set_send_marks", {"high", "low", "cap", "on_pause", "on_resume"}, 0, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 5> arguments{};
    if (!signature.parse(types, given, count, keywords, arguments)) {
        return nullptr;
    }
    SendMarks marks = marks_of(socket);
    if (!to_mark(types, arguments[0], "high", marks.high)) {
        return nullptr;
    }
    if (arguments[0] != nullptr && arguments[1] == nullptr && marks.low > marks.high) {
        marks.low = marks.high / 4;
    }
    if (!to_mark(types, arguments[1], "low", marks.low) ||
        !to_mark(types, arguments[2], "cap", marks.cap)) {
        return nullptr;
    }
    if (marks.low > marks.high || (marks.cap != 0 && marks.high > marks.cap)) {
        return raise(types, ErrorClass::argument, EINVAL,
                     "low must be at most high, and high at most cap (0: no cap)");
    }
    PortObject& port = *socket.binding;
    Replacement on_pause(port, socket.on_pause);
    Replacement on_resume(port, socket.on_resume);
    if (!on_pause.take(arguments[3]) || !on_resume.take(arguments[4])) {
        return nullptr;
    }
    // Stores the callbacks before the marks, because the queued bytes may already be over the new
    // marks, and the core then notifies the callbacks.
    on_pause.swap();
    on_resume.swap();
    if (!with_open(socket, [&](Socket& core) {
            port.core->sockets().set_marks(core, marks);
            return Error{};
        })) {
        on_pause.swap();
        on_resume.swap();
        return nullptr;
    }
    Py_RETURN_NONE;
}

// Pauses or resumes a subscription, and returns whether that changed anything. Without a
// subscription, or after close(), there is nothing to pause.
template <class Change>
PyObject* change_pause(PyObject* self, Change&& change) {
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    if (!port.closed && !usable(port)) {
        return nullptr;
    }
    const bool changed = !port.closed && locked(port, [&] {
        Socket* core = socket.core.get();
        return core != nullptr && socket.subscribed != 0 && !socket.ending &&
               change(*port.core, *core);
    });
    return PyBool_FromLong(changed ? 1 : 0);
}

PyObject* pause(PyObject* self, PyObject* /*unused*/) {
    return change_pause(
        self, [](Port& port, Socket& socket) { return port.sockets().pause_reading(socket); });
}

PyObject* resume(PyObject* self, PyObject* /*unused*/) {
    return change_pause(
        self, [](Port& port, Socket& socket) { return port.sockets().resume_reading(socket); });
}

PyObject* get_receive_paused(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(
        peek(socket_of(self), false, [](const Socket& core) { return bool{core.reading_paused}; })
            ? 1
            : 0);
}

}  // namespace

bool to_strategy(const Types& types, PyObject* given, std::optional<ReceiveStrategy>& out) {
    if (given == nullptr) {
        return true;
    }
    ReceiveStrategy found{};
    if (find_named(given, receive_names, found)) {
        out = found;
        return true;
    }
    if (PyUnicode_Check(given) && PyUnicode_CompareWithASCIIString(given, "adaptive") == 0) {
        out.reset();
        return true;
    }
    raise(types, ErrorClass::argument, EINVAL,
          "receive must be 'pooled', 'direct', 'zero_byte' or 'adaptive'");
    return false;
}

PyMethodDef flow_methods[] = {
    {"pause", guarded<pause>, METH_NOARGS,
     "pause() -> bool\n\n"
     "Stops receive(), receive_from() or accept_each() until resume(). Once it has returned,\n"
     "no callback of the subscription runs, nothing is read, and no memory waits for data.\n"
     "Data that the port has taken before is kept and comes first after resume(); on_close\n"
     "waits behind it. False: the subscription was paused already, or there is none. cancel(),\n"
     "close() and another subscription end the pause."},
    {"resume", guarded<resume>, METH_NOARGS,
     "resume() -> bool\n\n"
     "Ends a pause(). False: there was none. That is not an error, even after the end of the\n"
     "stream or of the socket."},
    {"set_send_marks", fast(guarded<set_send_marks>), METH_FASTCALL | METH_KEYWORDS,
     "set_send_marks(*, high=None, low=None, cap=None, on_pause=None, on_resume=None) -> None\n\n"
     "Sets the marks, in bytes, for the data queued to send (queued_bytes). on_pause(socket)\n"
     "is called once when it passes high, and on_resume(socket) once when it has fallen to\n"
     "low. A post that would bring it over cap raises BudgetExceeded and sends nothing. 0\n"
     "means no such mark. Arguments that are not given stay as they are. A file counts with\n"
     "all its bytes still to send, and is refused only if the queue is already over high.\n"
     "After the socket's end neither callback is called; on_close reports the end."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef flow_properties[] = {
    {"receive_strategy", guarded<get_receive_strategy>, guarded<set_receive_strategy>,
     "The strategy of the current receive(): 'pooled', 'direct', 'zero_byte' or 'adaptive';\n"
     "None without one. It may be set while the subscription runs: no data that arrived is\n"
     "lost.",
     nullptr},
    {"receiving_by", guarded<get_receiving_by>, nullptr,
     "The strategy in use now; for 'adaptive' it changes with the traffic.", nullptr},
    {"send_strategy", guarded<get_send_strategy>, guarded<set_send_strategy>,
     "The send strategy, for the sends posted from then on. 'buffered': the system copies the\n"
     "data to its buffer; waiting sends are charged. 'when_writable': the same, but while a\n"
     "send waits for room the system holds none of its memory, and nothing is charged.\n"
     "'direct': the system reads the data from the program's memory (io_uring: zero-copy sends\n"
     "over TCP; Windows: a send buffer of 0), and the send completes when it no longer reads\n"
     "it. Raises ArgumentError where the backend does not support the strategy.",
     nullptr},
    {"send_marks", guarded<get_send_marks>, nullptr,
     "(high, low, cap) in bytes; see set_send_marks().", nullptr},
    {"receive_paused", guarded<get_receive_paused>, nullptr,
     "Whether pause() holds the subscription back.", nullptr},
    {"send_paused", guarded<get_send_paused>, nullptr,
     "Whether the bytes queued to send passed the high mark and have not fallen to the low one.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace iocp::py
