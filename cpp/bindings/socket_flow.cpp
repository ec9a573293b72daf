// How a Socket sends and receives, and what tells its owner to pause: strategies and marks.
#include <cerrno>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/guarded.hpp"
#include "bindings/standing.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

constexpr std::pair<const char*, Receive> receive_names[] = {
    {"pooled", Receive::pooled}, {"direct", Receive::direct}, {"zero_byte", Receive::zero_byte}};
constexpr std::pair<const char*, Send> send_names[] = {
    {"buffered", Send::buffered}, {"when_writable", Send::when_writable}, {"direct", Send::direct}};

SocketObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<SocketObject*>(self); }

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
    const Standing found = standing(self_of(self));
    if (!found.stands) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(found.adaptive ? "adaptive"
                                               : name_of(found.strategy, receive_names));
}

int set_receive_strategy(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = self_of(self);
    std::optional<Receive> strategy;
    if (given == nullptr) {
        raise(*socket.binding->types, ErrorClass::argument_type, EINVAL,
              "receive_strategy cannot be deleted");
        return -1;
    }
    if (!to_strategy(*socket.binding->types, given, strategy) || !usable(*socket.binding) ||
        (standing(socket).stands && !warn_before_strategy(socket, strategy))) {
        return -1;
    }
    return with_open(socket,
                     [&](Socket& core) {
                         return socket.binding->core->set_receive_strategy(core, strategy);
                     })
               ? 0
               : -1;
}

PyObject* get_receiving_by(PyObject* self, void* /*unused*/) {
    const Standing found = standing(self_of(self));
    if (!found.stands) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(name_of(found.strategy, receive_names));
}

PyObject* get_send_strategy(PyObject* self, void* /*unused*/) {
    return PyUnicode_FromString(name_of(
        peek(self_of(self), Send::buffered, [](const Socket& core) { return core.send_strategy; }),
        send_names));
}

int set_send_strategy(PyObject* self, PyObject* given, void* /*unused*/) {
    SocketObject& socket = self_of(self);
    Send strategy{};
    if (!find_named(given, send_names, strategy)) {
        raise(*socket.binding->types, ErrorClass::argument, EINVAL,
              "send_strategy is one of 'buffered', 'when_writable' and 'direct'");
        return -1;
    }
    return with_open(socket,
                     [&](Socket& core) {
                         return socket.binding->core->set_send_strategy(core, strategy);
                     })
               ? 0
               : -1;
}

SendMarks marks_of(SocketObject& socket) {
    return peek(socket, SendMarks{}, [](const Socket& core) { return core.marks; });
}

PyObject* get_send_marks(PyObject* self, void* /*unused*/) {
    const SendMarks marks = marks_of(self_of(self));
    return Py_BuildValue("(III)", marks.high, marks.low, marks.cap);
}

PyObject* get_send_paused(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(
        peek(self_of(self), false, [](const Socket& core) { return bool{core.send_paused}; }) ? 1
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

// A callback in place of the stored one, unless it was not given; None takes the stored one away.
class Replacement {
public:
    Replacement(PortObject& port, PyObject*& field) noexcept : port_(port), field_(field) {}
    ~Replacement() { Py_XDECREF(other_); }
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;

    // False: exception set.
    bool take(PyObject* given) {
        given_ = given != nullptr;
        PyObject* callback = nullptr;
        const bool good = !given_ || to_callback(*port_.types, given, callback);
        other_ = Py_XNewRef(callback);
        return good;
    }
    // Puts it in place; the second time, what was there before.
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
    SocketObject& socket = self_of(self);
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
                     "low is at most high, and high at most cap (a cap of 0 is none)");
    }
    PortObject& port = *socket.binding;
    Replacement on_pause(port, socket.on_pause);
    Replacement on_resume(port, socket.on_resume);
    if (!on_pause.take(arguments[3]) || !on_resume.take(arguments[4])) {
        return nullptr;
    }
    // New marks may be passed already: the callback that hears of it stands first.
    on_pause.swap();
    on_resume.swap();
    if (!with_open(socket, [&](Socket& core) {
            port.core->set_marks(core, marks);
            return Error{};
        })) {
        on_pause.swap();
        on_resume.swap();
        return nullptr;
    }
    Py_RETURN_NONE;
}

// Whether the call changed something: nothing is to pause without a subscription, or after close().
template <class Change>
PyObject* change_pause(PyObject* self, Change&& change) {
    SocketObject& socket = self_of(self);
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
    return change_pause(self,
                        [](Port& port, Socket& socket) { return port.pause_reading(socket); });
}

PyObject* resume(PyObject* self, PyObject* /*unused*/) {
    return change_pause(self,
                        [](Port& port, Socket& socket) { return port.resume_reading(socket); });
}

PyObject* get_receive_paused(PyObject* self, void* /*unused*/) {
    return PyBool_FromLong(
        peek(self_of(self), false, [](const Socket& core) { return bool{core.reading_paused}; })
            ? 1
            : 0);
}

}  // namespace

bool to_strategy(const Types& types, PyObject* given, std::optional<Receive>& out) {
    if (given == nullptr) {
        return true;
    }
    Receive found{};
    if (find_named(given, receive_names, found)) {
        out = found;
        return true;
    }
    if (PyUnicode_Check(given) && PyUnicode_CompareWithASCIIString(given, "adaptive") == 0) {
        out.reset();
        return true;
    }
    raise(types, ErrorClass::argument, EINVAL,
          "receive is one of 'pooled', 'direct', 'zero_byte' and 'adaptive'");
    return false;
}

PyMethodDef flow_methods[] = {
    {"pause", guarded<pause>, METH_NOARGS,
     "pause() -> bool\n\nStops receive(), receive_from() or accept_each() until resume(): from its "
     "return on no callback of the\nsubscription runs, nothing is read, and no memory waits for "
     "data. "
     "What the port had taken before is kept, and\ncomes first after resume(); on_close waits "
     "behind it. Pausing twice is pausing once. False: it was paused, or\nthere is nothing to "
     "pause. "
     "cancel(), close() and another subscription end the pause."},
    {"resume", guarded<resume>, METH_NOARGS,
     "resume() -> bool\n\nEnds a pause(). False: there was none; that is no error, also after the "
     "end of the stream or of the socket."},
    {"set_send_marks", fast(guarded<set_send_marks>), METH_FASTCALL | METH_KEYWORDS,
     "set_send_marks(*, high=None, low=None, cap=None, on_pause=None, on_resume=None) -> None\n\n"
     "Bytes queued to send (queued_bytes): when they pass high, on_pause(socket) is called once, "
     "and\n"
     "on_resume(socket) once they have fallen to low; a post that would bring them over cap "
     "raises\n"
     "BudgetExceeded and sends nothing. 0: no such mark. What is not given stays as it is. A file "
     "counts\n"
     "with all its bytes still to go, and is refused only where the queue is over high before it. "
     "After the\n"
     "socket's end neither is called; on_close tells of that."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef flow_properties[] = {
    {"receive_strategy", guarded<get_receive_strategy>, guarded<set_receive_strategy>,
     "How the standing receive() receives: 'pooled', 'direct', 'zero_byte' or 'adaptive'; None "
     "without\none. May be set while it runs: nothing that arrived is lost.",
     nullptr},
    {"receiving_by", guarded<get_receiving_by>, nullptr,
     "The strategy in use at this moment, which for 'adaptive' changes with the traffic.", nullptr},
    {"send_strategy", guarded<get_send_strategy>, guarded<set_send_strategy>,
     "How sends go out. 'buffered': copied to the system's buffer, charged while they wait. "
     "'when_writable':\n"
     "the same, but while they wait for room the system holds none of their memory, and nothing "
     "is charged.\n"
     "'direct': from where the data lies (io_uring: zero-copy sends over TCP; Windows: a "
     "send buffer\n"
     "of 0), complete only when the system reads the memory no more. For the sends posted from "
     "then on.\n"
     "Raises ArgumentError where the backend cannot.",
     nullptr},
    {"send_marks", guarded<get_send_marks>, nullptr,
     "(high, low, cap) in bytes; see set_send_marks().", nullptr},
    {"receive_paused", guarded<get_receive_paused>, nullptr, "pause() holds the subscription back.",
     nullptr},
    {"send_paused", guarded<get_send_paused>, nullptr,
     "The bytes queued to send passed the high mark and are not down to the low one.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace iocp::py
