// From the core's ready queue to the application's callbacks: the one place where Python is
// entered.
#include <cmath>

#include "bindings/address_argument.hpp"

namespace iocp::py {

namespace {

constexpr std::int64_t longest_wait = 1'000'000'000;  // between looks at the interpreter's signals

// Gives the exception of a callback to the port's error handler. False: it is none of ours to keep
// (KeyboardInterrupt, SystemExit) and goes on to the caller of run().
bool report(PortObject& port, PyObject* source) {
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
        return false;
    }
    PyObject* handler = Py_XNewRef(port.error_handler);
    if (handler == nullptr) {
        PyErr_WriteUnraisable(source);
        return true;
    }
    PyObject* exception = PyErr_GetRaisedException();
    PyObject* result = PyObject_CallFunctionObjArgs(handler, exception, source, nullptr);
    Py_DECREF(exception);
    bool ours = true;
    if (result == nullptr) {
        ours = PyErr_ExceptionMatches(PyExc_Exception) != 0;
        if (ours) {
            PyErr_WriteUnraisable(handler);
        }
    }
    Py_XDECREF(result);
    Py_DECREF(handler);
    return ours;
}

// Calls with up to three arguments; `slots` has room for one before them. False: stop dispatching.
bool call(PortObject& port, PyObject* callback, PyObject** slots, std::size_t count) {
    PyObject* result = attaching([&] {
        return PyObject_Vectorcall(callback, slots + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                   nullptr);
    });
    if (result == nullptr) {
        return report(port, callback);
    }
    Py_DECREF(result);
    return true;
}

bool call_with(PortObject& port, PyObject* callback, PyObject* first, PyObject* second = nullptr) {
    PyObject* slots[3] = {nullptr, first, second};
    return call(port, callback, slots, second != nullptr ? 2 : 1);
}

void drop_link(PortObject& port, SocketObject& socket) {
    if (unlink(port, port.sockets, socket)) {
        Py_DECREF(reinterpret_cast<PyObject*>(&socket));
    }
}

// What one record comes to. `completion` is set when it is one that get() hands to its caller.
struct Outcomes {
    bool go_on{true};
    PyObject* completion{nullptr};
};

// A finished subscription leaves its Socket to whoever keeps it; one that is ending stays the
// port's until it is closed.
void end_subscription(PortObject& port, SocketObject& socket) {
    socket.subscribed = false;
    if (socket.ending) {
        return;
    }
    // A socket that an error closes still has its on_close to give.
    const bool open =
        locked(port, [&] { return socket.core == nullptr || socket.core->life == Life::open; });
    if (open) {
        assign(socket.on_item, nullptr);
        drop_link(port, socket);
    } else {
        socket.ending = true;
    }
}

Outcomes hand_out_operation(PortObject& port, Operation& core, Retired& retired) {
    Outcomes outcomes;
    auto* op = static_cast<OperationObject*>(core.user);
    const bool subscription = core.subscription();
    auto* socket = static_cast<SocketObject*>(core.socket->user);
    Py_XINCREF(reinterpret_cast<PyObject*>(op));
    Py_XINCREF(reinterpret_cast<PyObject*>(socket));
    if (port.core->observed()) {
        locked(port, [&] {
            port.core->handed_out(core);
            return 0;
        });
    }
    conclude(port, core);
    retired.operations.push_back(&core);
    if (subscription && socket != nullptr) {
        end_subscription(port, *socket);
    }
    if (op != nullptr) {
        auto* object = reinterpret_cast<PyObject*>(op);
        PyObject* callback = std::exchange(op->callback, nullptr);
        if (callback != nullptr) {
            PyObject* completion = new_completion(*port.types, object, nullptr);
            outcomes.go_on = completion != nullptr ? call_with(port, callback, completion)
                                                   : report(port, callback);
            Py_XDECREF(completion);
            Py_DECREF(callback);
        } else if (op->claims.load(std::memory_order_relaxed) == 0) {
            outcomes.completion = object;  // made a Completion by whoever wants it
            Py_INCREF(object);
        }
        if (unlink(port, port.operations, *op)) {
            Py_DECREF(object);
        }
        Py_DECREF(object);
    }
    Py_XDECREF(reinterpret_cast<PyObject*>(socket));
    return outcomes;
}

// What arrived, and, of a datagram, who sent it.
bool hand_out_data(PortObject& port, Ready& ready) {
    auto* socket = static_cast<SocketObject*>(ready.socket->user);
    if (socket == nullptr || socket->ending || socket->on_item == nullptr) {
        return true;  // close() and abort() end the delivery at once
    }
    auto* object = reinterpret_cast<PyObject*>(socket);
    PyObject* sender = nullptr;
    if (ready.what == Ready::What::datagram) {
        sender = from_address(Port::sender_of(ready.slice));
        if (sender == nullptr) {
            return report(port, object);
        }
    }
    PyObject* buffer = new_buffer(*port.types, std::move(ready.slice));
    if (buffer == nullptr) {
        Py_XDECREF(sender);
        return report(port, object);
    }
    PyObject* callback = Py_NewRef(socket->on_item);
    Py_INCREF(object);
    PyObject* slots[4] = {nullptr, object, buffer, sender};
    const bool go_on = call(port, callback, slots, sender != nullptr ? 3 : 2);
    Py_DECREF(object);
    Py_DECREF(callback);
    Py_DECREF(buffer);
    Py_XDECREF(sender);
    return go_on;
}

bool hand_out_accepted(PyObject* self, PortObject& port, Ready& ready) {
    auto* listener = static_cast<SocketObject*>(ready.socket->user);
    if (listener == nullptr || listener->ending || listener->on_item == nullptr) {
        locked(port, [&] {
            port.core->close(*ready.accepted, 0);
            return 0;
        });
        return true;
    }
    auto* socket = reinterpret_cast<PyObject*>(new_socket(self, port, ready.accepted));
    if (socket == nullptr) {
        return report(port, reinterpret_cast<PyObject*>(listener));
    }
    PyObject* callback = Py_NewRef(listener->on_item);
    const bool go_on = call_with(port, callback, socket);
    Py_DECREF(callback);
    Py_DECREF(socket);
    return go_on;
}

bool hand_out_item_error(PortObject& port, const Ready& ready) {
    auto* socket = static_cast<SocketObject*>(ready.socket->user);
    if (socket == nullptr || socket->ending || socket->on_error == nullptr) {
        return true;
    }
    auto* object = reinterpret_cast<PyObject*>(socket);
    PyObject* exception = make_exception(&port, *port.types, ready.error);
    if (exception == nullptr) {
        return report(port, object);
    }
    PyObject* callback = Py_NewRef(socket->on_error);
    Py_INCREF(object);
    const bool go_on = call_with(port, callback, object, exception);
    Py_DECREF(object);
    Py_DECREF(callback);
    Py_DECREF(exception);
    return go_on;
}

bool hand_out_flow(PortObject& port, const Ready& ready, PyObject* SocketObject::*which) {
    auto* socket = static_cast<SocketObject*>(ready.socket->user);
    if (socket == nullptr || socket->ending || socket->*which == nullptr) {
        return true;
    }
    auto* object = reinterpret_cast<PyObject*>(socket);
    PyObject* callback = Py_NewRef(socket->*which);
    Py_INCREF(object);
    const bool go_on = call_with(port, callback, object);
    Py_DECREF(object);
    Py_DECREF(callback);
    return go_on;
}

bool hand_out_closed(PortObject& port, const Ready& ready, Retired& retired) {
    Socket& core = *ready.socket;
    auto* socket = static_cast<SocketObject*>(core.user);
    const Error failure = core.failure;
    core.user = nullptr;
    retired.sockets.push_back(&core);
    if (socket == nullptr) {
        return true;
    }
    auto* object = reinterpret_cast<PyObject*>(socket);
    Py_INCREF(object);
    Py_BEGIN_CRITICAL_SECTION(object);
    socket->core = nullptr;
    socket->ending = true;
    Py_END_CRITICAL_SECTION();
    PyObject* callback = std::exchange(socket->on_close, nullptr);
    bool go_on = true;
    if (callback != nullptr) {
        PyObject* exception =
            failure ? make_exception(&port, *port.types, failure) : Py_NewRef(Py_None);
        go_on = exception != nullptr ? call_with(port, callback, object, exception)
                                     : report(port, object);
        Py_XDECREF(exception);
        Py_DECREF(callback);
    }
    assign(socket->on_item, nullptr);
    assign(socket->on_error, nullptr);
    assign(socket->on_pause, nullptr);
    assign(socket->on_resume, nullptr);
    drop_link(port, *socket);
    Py_DECREF(object);
    return go_on;
}

bool hand_out_timer(PortObject& port, const Ready& ready) {
    auto* timer = static_cast<TimerObject*>(ready.timer->target);
    Port::retire(ready.timer);
    if (timer == nullptr) {
        return true;
    }
    timer->core = nullptr;
    PyObject* callback = std::exchange(timer->callback, nullptr);
    if (unlink(port, port.timers, *timer)) {
        Py_DECREF(reinterpret_cast<PyObject*>(timer));
    }
    if (callback == nullptr) {
        return true;
    }
    PyObject* slots[1] = {nullptr};
    const bool go_on = call(port, callback, slots, 0);
    Py_DECREF(callback);
    return go_on;
}

// A posted packet without a callback is for get(); run() retires it like any other completion.
Outcomes hand_out_packet(PortObject& port, PostedPacket& packet) {
    Outcomes outcomes;
    {
        const std::lock_guard guard(port.links_mutex);
        port.packets.remove(packet);
    }
    PyObject* completion = new_completion(*port.types, nullptr, packet.value);
    if (completion == nullptr) {
        outcomes.go_on = report(port, packet.value);
    } else if (packet.callback != nullptr) {
        outcomes.go_on = call_with(port, packet.callback, completion);
        Py_DECREF(completion);
    } else {
        outcomes.completion = completion;
    }
    Py_DECREF(packet.value);
    Py_XDECREF(packet.callback);
    delete &packet;
    return outcomes;
}

// A warning that is turned into an exception goes where those of callbacks go.
bool warn_of_nagle(PortObject& port) {
    PyObject* category = warning_class("NagleStallWarning");
    const bool warned =
        category != nullptr &&
        PyErr_WarnEx(
            category,
            "two small sends were followed by a wait for data, and Nagle's algorithm held "
            "the second one back until the peer acknowledged the first, which may take it "
            "40 ms on Linux and 200 ms on Windows; gather them with sendmsg(), pass MSG_MORE "
            "to the first one, or set Socket.nodelay",
            1) == 0;
    const bool go_on = warned || report(port, category != nullptr ? category : Py_None);
    Py_XDECREF(category);
    return go_on;
}

Outcomes hand_out(PyObject* self, PortObject& port, Ready& ready, Retired& retired) {
    switch (ready.what) {
        case Ready::What::completed:
            return hand_out_operation(port, *ready.op, retired);
        case Ready::What::data:
        case Ready::What::datagram:
            return {hand_out_data(port, ready)};
        case Ready::What::accepted:
            return {hand_out_accepted(self, port, ready)};
        case Ready::What::item_error:
            return {hand_out_item_error(port, ready)};
        case Ready::What::closed:
            return {hand_out_closed(port, ready, retired)};
        case Ready::What::pause_sends:
            return {hand_out_flow(port, ready, &SocketObject::on_pause)};
        case Ready::What::resume_sends:
            return {hand_out_flow(port, ready, &SocketObject::on_resume)};
        case Ready::What::timer:
            return {hand_out_timer(port, ready)};
        case Ready::What::packet:
            return hand_out_packet(port, *static_cast<PostedPacket*>(ready.user));
        case Ready::What::nagle_stall:
            return {warn_of_nagle(port)};
    }
    return {};
}

}  // namespace

std::int64_t deadline_after(const PortObject& port, double seconds) {
    const std::int64_t now = port.core->now();
    constexpr double longest = 4e9;
    return seconds < longest ? now + static_cast<std::int64_t>(std::ceil(seconds * 1e9))
                             : INT64_MAX;
}

Error poll_port(PortObject& port, std::int64_t deadline) {
    Error error;
    if (port.next_ready < port.inbox.size()) {
        return error;
    }
    port.inbox.clear();
    port.next_ready = 0;
    detached([&] {
        const std::int64_t slice = port.core->now() + longest_wait;
        // A wait in virtual time returns at once, and has to see whether it could ever end.
        const bool whole = port.core->backend().capabilities().virtual_time;
        error = port.core->poll(!whole && (deadline < 0 || slice < deadline) ? slice : deadline,
                                port.inbox);
    });
    return error;
}

bool poll_once(PyObject* /*self*/, PortObject& port, std::int64_t deadline) {
    if (const Error error = poll_port(port, deadline)) {
        raise(&port, *port.types, error);
        return false;
    }
    return PyErr_CheckSignals() == 0;
}

void retire_handed_out(PortObject& port, Retired& retired) {
    if (retired.operations.empty() && retired.sockets.empty()) {
        return;
    }
    locked(port, [&] {
        for (Operation* op : retired.operations) {
            port.core->retire(*op);
        }
        for (Socket* socket : retired.sockets) {
            port.core->retire(*socket);
        }
        return 0;
    });
    retired.operations.clear();
    retired.sockets.clear();
}

bool hand_out_one(PyObject* self, PortObject& port, Ready& ready, Retired& retired,
                  PyObject** wanted) {
    const Outcomes outcomes = hand_out(self, port, ready, retired);
    if (outcomes.completion == nullptr) {
        return outcomes.go_on;
    }
    if (wanted == nullptr) {
        Py_DECREF(outcomes.completion);
        return outcomes.go_on;
    }
    if (!Py_IS_TYPE(outcomes.completion, port.types->operation)) {
        *wanted = outcomes.completion;
        return outcomes.go_on;
    }
    *wanted = new_completion(*port.types, outcomes.completion, nullptr);
    Py_DECREF(outcomes.completion);
    return outcomes.go_on && *wanted != nullptr;
}

Py_ssize_t dispatch(PyObject* self, PortObject& port, PyObject** wanted) {
    Py_ssize_t count = port.core->any_aside() ? hand_over(port) : 0;
    bool go_on = true;
    while (go_on && port.next_ready < port.inbox.size() &&
           (wanted == nullptr || *wanted == nullptr)) {
        // The record is taken first: the callback may raise, and what follows waits for the next
        // turn.
        Ready ready = std::move(port.inbox[port.next_ready++]);
        count += ready.what != Ready::What::nagle_stall ? 1 : 0;
        go_on = hand_out_one(self, port, ready, port.retired, wanted);
    }
    retire_handed_out(port, port.retired);
    return go_on ? count : -1;
}

}  // namespace iocp::py
