// The end of a Socket: close(), abort(), detach(), and the close after a callback has raised.
#include <array>
#include <cerrno>
#include <mutex>
#include <utility>

#include "backend/families.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/host.hpp"
#include "bindings/inherited.hpp"
#include "bindings/links.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"
#include "run/runner.hpp"
#include "run/turn.hpp"

namespace iocp::py {

namespace {

enum class Ending : std::uint8_t { closed, ending_already, begun };

// Begins the end of a Socket: the port keeps the Socket until the core's socket is closed. `cause`
// is the exception of a callback that raised, which on_close gets.
Ending begin_ending(SocketObject& socket, PyObject* cause) {
    PortObject& port = *socket.binding;
    if (port.forked()) {
        close_in_child(socket);
        return Ending::closed;
    }
    auto* object = reinterpret_cast<PyObject*>(&socket);
    Ending outcome = Ending::closed;
    PyObject* on_item = nullptr;
    bool kept = false;
    Py_INCREF(object);
    {
        const std::lock_guard guard(port.links_mutex);
        // A closed core socket has no record left that would make the port drop the Socket again.
        if (socket.core.linked()) {
            outcome = socket.ending.exchange(true) ? Ending::ending_already : Ending::begun;
        }
        if (outcome == Ending::begun && cause != nullptr) {
            on_item = std::exchange(socket.on_item, Py_NewRef(cause));
            socket.blamed = true;
        }
        kept = outcome == Ending::begun && !socket.links.linked();
        if (kept) {
            port.sockets.add(socket);
        }
    }
    Py_XDECREF(on_item);
    if (!kept) {
        Py_DECREF(object);
    }
    return outcome;
}
bool begin_ending(SocketObject& socket) { return begin_ending(socket, nullptr) != Ending::closed; }

PyObject* close(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<1> signature{"close", {"timeout"}, 1, 0};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 1> arguments{};
    std::int64_t timeout = -1;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_timeout(types, arguments[0], timeout)) {
        return nullptr;
    }
    if (begin_ending(socket)) {
        locked(*socket.binding, [&] {
            if (Socket* core = socket.core.get()) {
                socket.binding->core->sockets().close(*core, timeout);
            }
            return 0;
        });
    }
    Py_RETURN_NONE;
}

PyObject* abort_socket(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = socket_of(self);
    if (begin_ending(socket)) {
        locked(*socket.binding, [&] {
            if (Socket* core = socket.core.get()) {
                socket.binding->core->sockets().abort(*core);
            }
            return 0;
        });
    }
    Py_RETURN_NONE;
}

PyObject* detach(PyObject* self, PyObject* /*unused*/) {
    SocketObject& socket = socket_of(self);
    PortObject& port = *socket.binding;
    if (!usable(port)) {
        return nullptr;
    }
    Handle handle = no_handle;
    bool closed = false;
    bool idle = false;
    const auto check = [&](const Socket* core) -> Error {
        if (core == nullptr || core->state != SocketState::open) {
            return socket_is_closed;
        }
        if (core->releasing != 0) {
            return Error::of(
                Fault::argument,
                "a direct send still reads its memory; wait for its completion before detach()");
        }
        return {};
    };
    Error refused = locked(port, [&]() -> Error {
        const Socket* core = socket.core.get();
        idle = core != nullptr && core->idle();
        return check(core);
    });
    if (refused) {
        return raise(&port, *port.types, refused);
    }
    DropHost host;
    run::Runner runner(host, port);
    (void)runner.acquire(run::Purpose::run);
    // Only a thread that runs the port can take outstanding operations back from the kernel.
    const bool may_turn = port.core->shared() || runner.here();
    constexpr Error elsewhere =
        Error::of(Fault::wrong_thread,
                  "operations are outstanding, and another thread runs the port; call detach() in "
                  "that thread");
    if (!idle) {
        if (!may_turn) {
            return raise(&port, *port.types, elsewhere);
        }
        if (const Error failed = run::collect(host, port, 0)) {
            return raise(&port, *port.types, failed);
        }
    }
    // Checks the socket again. A reset, or another thread's close(), may have ended it meanwhile,
    // and another thread may have posted. Nothing is cancelled before it is certain that the
    // operations can be taken back.
    std::uint64_t seen = 0;
    refused = locked(port, [&]() -> Error {
        Socket* core = socket.core.get();
        Error found = check(core);
        if (!found && !may_turn && !core->idle()) {
            found = elsewhere;
        }
        if (!found) {
            handle = core->handle;
            port.core->sockets().detach(*core);
            closed = core->state == SocketState::closed;
            seen = port.core->turns();
        }
        return found;
    });
    if (refused) {
        return raise(&port, *port.types, refused);
    }
    (void)begin_ending(socket);
    while (!closed) {
        if (const Error failed = run::collect(host, port, 1'000'000'000, seen)) {
            return raise(&port, *port.types, failed);
        }
        if (PyErr_CheckSignals() != 0) {
            return nullptr;
        }
        closed = locked(port, [&] {
            seen = port.core->turns();
            const Socket* core = socket.core.get();
            return core == nullptr || core->state == SocketState::closed;
        });
    }
    return PyLong_FromSsize_t(handle);
}

PyObject* enter(PyObject* self, PyObject* /*unused*/) { return Py_NewRef(self); }

PyObject* leave(PyObject* self, PyObject* /*unused*/) { return close(self, nullptr, 0, nullptr); }

}  // namespace

PyMethodDef ending_methods[] = {
    {"close", fast(guarded<close>), METH_FASTCALL | METH_KEYWORDS,
     "close(timeout=None) -> None\n\n"
     "Closes the socket and returns at once; the port does the work while it runs. Queued\n"
     "sends go out first; receives are cancelled at once. If the peer takes no byte for\n"
     "timeout seconds (None: the port's close_timeout; 0: do not wait), the connection is\n"
     "reset. The remaining sends then end with TimedOut, which on_close reports. Closing twice\n"
     "is not an error."},
    {"abort", guarded<abort_socket>, METH_NOARGS,
     "abort() -> None\n\n"
     "Resets the connection. Queued data is not sent, and the peer sees a reset."},
    {"detach", guarded<detach>, METH_NOARGS,
     "detach() -> int\n\n"
     "Cancels the outstanding operations, waits until the kernel has given them back, and\n"
     "returns the open descriptor, which the caller owns. The Socket is closed, the connection\n"
     "stays open. Raises SocketClosed, WrongThread."},
    {"__enter__", guarded<enter>, METH_NOARGS, nullptr},
    {"__exit__", guarded<leave>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

// No other thread of the child knows the object. The port's lock may be held for ever by a thread
// that the child lacks, so the core is only read.
void close_in_child(SocketObject& socket) noexcept {
    const Socket* core = socket.core.get();
    if (core == nullptr) {
        return;
    }
    socket.core.set(nullptr);
    const bool open = core->state == SocketState::open || core->state == SocketState::draining ||
                      core->state == SocketState::cancelling;
    const bool modelled = socket.binding->core->capabilities().virtual_time;
    if (open && !modelled && core->user == &socket && !core->borrowed && !core->keep_handle) {
        close_inherited(core->handle);
    }
}

void close_for(SocketObject& socket, PyObject* exception) {
    if (socket.type != type_stream || begin_ending(socket, exception) != Ending::begun) {
        return;
    }
    locked(*socket.binding, [&] {
        if (Socket* core = socket.core.get()) {
            socket.binding->core->sockets().close(*core, 0);
        }
        return 0;
    });
}

}  // namespace iocp::py
