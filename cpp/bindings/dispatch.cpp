// Hands the core's ready records to the application's callbacks. A turn invokes callbacks only
// here.
#include "bindings/dispatch.hpp"

#include "bindings/address_argument.hpp"
#include "bindings/buffer_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/hand_over.hpp"
#include "bindings/held.hpp"
#include "bindings/links.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/posted_packet.hpp"
#include "bindings/retired.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/timer_object.hpp"

namespace iocp::py {

namespace {

bool unraisable(PyObject* source) {
    return attaching([source] {
        PyErr_WriteUnraisable(source);
        return true;
    });
}

// Returns whether the raised exception goes on to the caller of run().
bool passes(const PortObject& port) {
    if (port.only_exits_pass) {
        return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0 ||
               PyErr_ExceptionMatches(PyExc_SystemExit) != 0;
    }
    return PyErr_ExceptionMatches(PyExc_Exception) == 0;
}

// Handles the exception of a callback. Closes the connection `served` if the port is set to do so
// (on_callback_error), and passes the exception to the port's error handler. False: the exception
// (KeyboardInterrupt, SystemExit) goes on to the caller of run().
bool report(PortObject& port, PyObject* source, PyObject* served = nullptr) {
    if (passes(port)) {
        return false;
    }
    if (served != nullptr && port.closes_on_error) {
        PyObject* exception = PyErr_GetRaisedException();
        close_for(*reinterpret_cast<SocketObject*>(served), exception);
        PyErr_SetRaisedException(exception);
    }
    PyObject* handler = stored(port, port.error_handler);
    if (handler == nullptr) {
        return unraisable(source);
    }
    PyObject* exception = PyErr_GetRaisedException();
    PyObject* result = attaching(
        [&] { return PyObject_CallFunctionObjArgs(handler, exception, source, nullptr); });
    Py_DECREF(exception);
    bool ours = true;
    if (result == nullptr) {
        ours = !passes(port);
        if (ours) {
            (void)unraisable(handler);
        }
    }
    Py_XDECREF(result);
    Py_DECREF(handler);
    return ours;
}

// Returns the exception that a callback gets for an error of the core, or a MemoryError if there is
// no memory for that exception.
PyObject* exception_of(PortObject& port, const Error& error) {
    PyObject* exception = make_exception(&port, *port.types, error);
    return exception != nullptr ? exception : PyErr_GetRaisedException();
}

// Makes a call that runs code of the program, between the two calls of the port's CallWatch if
// there is one. `named` is the object that a report of the watch names. False: the dispatch must
// stop, because an exception is set.
template <class Call>
bool watched(PortObject& port, PyObject* named, Call&& call) {
    CallWatch* const watch = port.call_watch;
    if (watch == nullptr) {
        return call();
    }
    return watch->begin() && call() && watch->end(named);
}

// Calls a callback with up to three arguments, which begin at slots[1], because a vectorcall may
// use the slot before them. If the callback raises, `served` (a Socket or null) is closed. False:
// the dispatch must stop, because an exception is set.
bool call(PortObject& port, PyObject* served, PyObject* callback, PyObject** slots,
          std::size_t count) {
    return watched(port, callback, [&] {
        PyObject* result = attaching([&] {
            return PyObject_Vectorcall(callback, slots + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                       nullptr);
        });
        const bool go_on = result != nullptr || report(port, callback, served);
        Py_XDECREF(result);
        return go_on;
    });
}

bool call_with(PortObject& port, PyObject* served, PyObject* callback, PyObject* first,
               PyObject* second = nullptr) {
    PyObject* slots[3] = {nullptr, first, second};
    return call(port, served, callback, slots, second != nullptr ? 2 : 1);
}

// The result of handing out one record. `go_on` is false if an exception is set. `completion` is a
// completion without a callback, which get() may return.
struct Outcomes {
    bool go_on{true};
    PyObject* completion{nullptr};
};

// Ends a subscription, so that the next one may be posted. The port drops its reference to a Socket
// that is open, but keeps one that is closing until its `closed` record.
void end_subscription(PortObject& port, SocketObject& socket) {
    const bool open = locked(port, [&] {
        const Socket* core = socket.core.get();
        return core == nullptr || core->state == SocketState::open;
    });
    PyObject* on_item = nullptr;
    bool linked = false;
    {
        const std::lock_guard guard(port.links_mutex);
        // A newer subscription may wait behind the cancelled one. The callbacks then belong to the
        // newer one.
        if (--socket.subscribed == 0 && !socket.ending) {
            // A socket that an error closes still has to call on_close.
            socket.ending = !open;
            if (open) {
                on_item = std::exchange(socket.on_item, nullptr);
                linked = socket.links.linked();
                if (linked) {
                    port.sockets.remove(socket);
                }
            }
        }
    }
    Py_XDECREF(on_item);
    if (linked) {
        Py_DECREF(reinterpret_cast<PyObject*>(&socket));
    }
}

// Returns the connection that an operation's callback serves: a new reference, or null.
PyObject* served_by(const OperationObject& op) {
    if (op.kind == OperationKind::accept) {
        return Py_XNewRef(op.accepted);
    }
    return Py_NewRef(reinterpret_cast<PyObject*>(op.socket));
}

// Returns the native receiver of a socket: a new reference, or null.
PyObject* sink_of(PortObject& port, const Socket& core) {
    auto* socket = object_of<SocketObject>(port, core.user);
    if (socket == nullptr) {
        return nullptr;
    }
    PyObject* sink = stored(port, socket->on_close);
    Py_DECREF(reinterpret_cast<PyObject*>(socket));
    if (sink != nullptr && !port.types->sink.is_type_of(sink)) {
        Py_CLEAR(sink);
    }
    return sink;
}

// Hands the failure of a muted send to the receiver of its socket.
bool hand_out_failure(PortObject& port, const Operation& core) {
    const Held sink(sink_of(port, *core.socket));
    if (sink.get() == nullptr) {
        return true;
    }
    const Held exception(exception_of(port, core.error));
    return watched(port, sink.get(),
                   [&] { return port.types->sink.failed(sink.get(), exception.get()); });
}

Outcomes hand_out_operation(PortObject& port, Operation& core, Retired& retired) {
    Outcomes outcomes;
    auto* op = object_of<OperationObject>(port, core.user);
    if (port.core->operations().observed()) {
        locked(port, [&] {
            port.core->operations().handed_out(core);
            return 0;
        });
    }
    conclude(port, core, op);
    if (core.muted) {
        outcomes.go_on = hand_out_failure(port, core);
    }
    retired.add(core);
    if (core.subscription()) {
        if (auto* socket = object_of<SocketObject>(port, core.socket->user)) {
            end_subscription(port, *socket);
            Py_DECREF(reinterpret_cast<PyObject*>(socket));
        }
    }
    if (op == nullptr) {
        return outcomes;
    }
    auto* object = reinterpret_cast<PyObject*>(op);
    PyObject* callback = replaced(port, op->callback, nullptr);
    if (callback != nullptr) {
        PyObject* served = served_by(*op);
        PyObject* completion = new_completion(*port.types, object, nullptr);
        outcomes.go_on = completion != nullptr ? call_with(port, served, callback, completion)
                                               : report(port, callback, served);
        Py_XDECREF(served);
        Py_XDECREF(completion);
        Py_DECREF(callback);
    } else if (op->claims.load(std::memory_order_relaxed) == 0) {
        outcomes.completion = object;  // hand_out_one() wraps the operation in a Completion
        Py_INCREF(object);
    }
    give_up(port, port.operations, *op);
    Py_DECREF(object);
    return outcomes;
}

// Keeps a Socket and one of its callbacks during a call of that callback. The callback is null if
// the Socket is gone, has no such callback, or is closing, because a close ends the delivery at
// once.
class Called {
public:
    Called(PortObject& port, const Socket& core, PyObject* SocketObject::*which)
        : socket_(object_of<SocketObject>(port, core.user)) {
        if (socket_ != nullptr) {
            const std::lock_guard guard(port.links_mutex);
            callback_ = socket_->ending ? nullptr : Py_XNewRef(socket_->*which);
        }
    }
    ~Called() {
        Py_XDECREF(callback_);
        Py_XDECREF(reinterpret_cast<PyObject*>(socket_));
    }
    Called(const Called&) = delete;
    Called& operator=(const Called&) = delete;

    // Ends the delivery to the Socket: data that has arrived is not handed out any more.
    void end() noexcept { socket_->ending = true; }
    [[nodiscard]] PyObject* socket() const noexcept { return reinterpret_cast<PyObject*>(socket_); }
    [[nodiscard]] PyObject* callback() const noexcept { return callback_; }

private:
    SocketObject* socket_;
    PyObject* callback_{nullptr};
};

// Hands out data that arrived, with the sender's address for a datagram.
bool hand_out_data(PortObject& port, Ready& ready) {
    Called called(port, *ready.socket, &SocketObject::on_item);
    if (called.callback() == nullptr) {
        return true;
    }
    if (port.types->sink.is_type_of(called.callback())) {
        return watched(port, called.callback(), [&] {
            return port.types->sink.data(called.callback(), std::move(ready.slice));
        });
    }
    PyObject* sender = nullptr;
    if (ready.what == Ready::What::datagram) {
        sender = from_address(datagram::sender_of(ready.slice));
        if (sender == nullptr) {
            return report(port, called.socket(), called.socket());
        }
    }
    PyObject* buffer = new_buffer(*port.types, std::move(ready.slice));
    if (buffer == nullptr) {
        // Without a Buffer the received bytes are lost, so a stream cannot go on.
        Py_XDECREF(sender);
        if (ready.what == Ready::What::data) {
            called.end();  // later bytes must not take the place of the missing ones
            locked(port, [&] {
                port.core->sockets().end_with(
                    *ready.socket,
                    Error::of(Fault::resource, "no memory for the data that arrived"));
                return 0;
            });
        }
        return report(port, called.socket());
    }
    PyObject* slots[4] = {nullptr, called.socket(), buffer, sender};
    const bool go_on =
        call(port, called.socket(), called.callback(), slots, sender != nullptr ? 3 : 2);
    Py_DECREF(buffer);
    Py_XDECREF(sender);
    return go_on;
}

bool names_peers(PortObject& port, const Called& called) {
    const std::lock_guard guard(port.links_mutex);
    return reinterpret_cast<SocketObject*>(called.socket())->names_peers;
}

bool hand_out_accepted(PyObject* self, PortObject& port, Ready& ready) {
    const Called called(port, *ready.socket, &SocketObject::on_item);
    if (called.callback() == nullptr) {
        locked(port, [&] {
            port.core->sockets().refuse(*ready.accepted);
            return 0;
        });
        return true;
    }
    auto* socket = reinterpret_cast<PyObject*>(new_socket(self, port, *ready.accepted));
    if (socket == nullptr) {
        return report(port, called.socket());
    }
    const Held peer(
        names_peers(port, called)
            ? PyBytes_FromStringAndSize(reinterpret_cast<const char*>(ready.slice.data()),
                                        static_cast<Py_ssize_t>(ready.slice.length()))
            : nullptr);
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();  // without memory for the address the connection goes on unnamed
    }
    const bool go_on = call_with(port, socket, called.callback(), socket, peer.get());
    Py_DECREF(socket);
    return go_on;
}

bool hand_out_item_error(PortObject& port, const Ready& ready) {
    const Called called(port, *ready.socket, &SocketObject::on_error);
    if (called.callback() == nullptr) {
        return true;
    }
    PyObject* exception = exception_of(port, ready.error);
    const bool go_on = call_with(port, nullptr, called.callback(), called.socket(), exception);
    Py_DECREF(exception);
    return go_on;
}

bool hand_out_flow(PortObject& port, const Ready& ready, PyObject* SocketObject::*which) {
    const Held sink(sink_of(port, *ready.socket));
    if (sink.get() != nullptr) {
        return ready.what == Ready::What::pause_sends ||
               watched(port, sink.get(), [&] { return port.types->sink.fell(sink.get()); });
    }
    const Called called(port, *ready.socket, which);
    return called.callback() == nullptr ||
           call_with(port, called.socket(), called.callback(), called.socket());
}

// Hands out the end of a socket whose owner still has to close it.
bool hand_out_end(PortObject& port, const Ready& ready) {
    const Held sink(sink_of(port, *ready.socket));
    if (sink.get() == nullptr) {
        return true;
    }
    const Error& failure = ready.socket->failure;
    const Held exception(failure ? exception_of(port, failure) : Py_NewRef(Py_None));
    return watched(port, sink.get(),
                   [&] { return port.types->sink.closed(sink.get(), exception.get()); });
}

// Takes the exception of the callback for which the socket was closed; null if no callback raised.
PyObject* cause_of(PortObject& port, SocketObject& socket) {
    const std::lock_guard guard(port.links_mutex);
    return socket.blamed ? std::exchange(socket.on_item, nullptr) : nullptr;
}

bool hand_out_closed(PortObject& port, const Ready& ready, Retired& retired) {
    Socket& core = *ready.socket;
    auto* socket = object_of<SocketObject>(port, core.user);
    const Error failure = core.failure;
    if (socket != nullptr) {
        socket->ending = true;
    }
    cut_from_core<SocketObject>(port, core);
    retired.add(core);
    if (socket == nullptr) {
        return true;
    }
    auto* object = reinterpret_cast<PyObject*>(socket);
    PyObject* callback = replaced(port, socket->on_close, nullptr);
    bool go_on = true;
    PyObject* exception = cause_of(port, *socket);
    if (callback != nullptr) {
        if (exception == nullptr) {
            exception = failure ? exception_of(port, failure) : Py_NewRef(Py_None);
        }
        go_on = port.types->sink.is_type_of(callback)
                    ? watched(port, callback,
                              [&] { return port.types->sink.closed(callback, exception); })
                    : call_with(port, nullptr, callback, object, exception);
        Py_DECREF(callback);
    }
    Py_XDECREF(exception);
    for (PyObject* SocketObject::*which : {&SocketObject::on_item, &SocketObject::on_error,
                                           &SocketObject::on_pause, &SocketObject::on_resume}) {
        forget(port, socket->*which);
    }
    give_up(port, port.sockets, *socket);
    Py_DECREF(object);
    return go_on;
}

bool hand_out_timer(PortObject& port, const Ready& ready) {
    TimerObject* timer = take_fired(port, *ready.timer);
    if (timer == nullptr) {
        return true;
    }
    PyObject* callback = replaced(port, timer->callback, nullptr);
    give_up(port, port.timers, *timer);
    if (callback == nullptr) {
        return true;
    }
    PyObject* slots[1] = {nullptr};
    const bool go_on = call(port, nullptr, callback, slots, 0);
    Py_DECREF(callback);
    return go_on;
}

// Hands out a posted packet. Without a callback get() returns it, and run() drops it like any other
// completion.
Outcomes hand_out_packet(PortObject& port, PostedPacket& packet) {
    Outcomes outcomes;
    if (!unlink(port, port.packets, packet)) {
        return outcomes;
    }
    PyObject* completion = new_completion(*port.types, nullptr, packet.value);
    if (completion == nullptr) {
        outcomes.go_on = report(port, packet.value);
    } else if (packet.callback != nullptr) {
        outcomes.go_on = call_with(port, nullptr, packet.callback, completion);
        Py_DECREF(completion);
    } else {
        outcomes.completion = completion;
    }
    delete &packet;
    return outcomes;
}

// Issues a NagleStallWarning. If a warnings filter turns the warning into an exception, the
// exception is reported like that of a callback.
bool warn_of_nagle(PortObject& port) {
    PyObject* category = warning_class("NagleStallWarning");
    const bool warned =
        category != nullptr &&
        attaching([category] {
            return PyErr_WarnEx(
                category,
                "Nagle's algorithm held a small send back until the peer acknowledged the one "
                "before it, which may take 40 ms on Linux and 200 ms on Windows; gather both with "
                "sendmsg(), pass MSG_MORE to the first, or set Socket.nodelay",
                1);
        }) == 0;
    const bool go_on = warned || report(port, category != nullptr ? category : Py_None);
    Py_XDECREF(category);
    return go_on;
}

Outcomes hand_out(PyObject* self, PortObject& port, Ready& ready, Retired& retired);

// Hands out the records of a socket that the port kept during a pause. Stops at a completion for
// get(), because get() takes one at a time.
Outcomes hand_out_withheld(PyObject* self, PortObject& port, Socket& socket, Retired& retired) {
    Outcomes outcomes;
    Ready ready;
    while (outcomes.go_on && outcomes.completion == nullptr) {
        if (!locked(port, [&] { return port.core->sockets().take_withheld(socket, ready); })) {
            return outcomes;
        }
        outcomes = hand_out(self, port, ready, retired);
        ready = {};
    }
    locked(port, [&] {
        port.core->sockets().resume_later(socket);
        return 0;
    });
    return outcomes;
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
        case Ready::What::ended:
            return {hand_out_end(port, ready)};
        case Ready::What::pause_sends:
            return {hand_out_flow(port, ready, &SocketObject::on_pause)};
        case Ready::What::resume_sends:
            return {hand_out_flow(port, ready, &SocketObject::on_resume)};
        case Ready::What::resumed:
            return hand_out_withheld(self, port, *ready.socket, retired);
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

void retire_handed_out(PortObject& port, Retired& retired) {
    if (retired.empty()) {
        return;
    }
    locked(port, [&] {
        retired.give_back(*port.core);
        return 0;
    });
}

bool hand_out_one(PyObject* self, PortObject& port, Ready& ready, Retired& retired,
                  PyObject** wanted) {
    Outcomes outcomes;
    try {
        const auto withheld =
            port.core->sockets().may_withhold(ready)
                ? locked(port, [&] { return port.core->sockets().withhold(ready); })
                : Withheld::no;
        if (withheld == Withheld::yes) {
            return true;
        }
        if (withheld == Withheld::behind) {
            const Outcomes before = hand_out_withheld(self, port, *ready.socket, retired);
            Py_XDECREF(before.completion);
        }
        outcomes = hand_out(self, port, ready, retired);
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        outcomes.go_on = report(port, self);
    }
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

}  // namespace iocp::py
