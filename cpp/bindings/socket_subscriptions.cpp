// The stream level of a Socket: operations that yield many results.
#include <algorithm>
#include <cerrno>

#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/post.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

bool subscription_stands(SocketObject& socket) {
    return peek(socket, false, [](const Socket& core) {
        const Operation* last = core.receiving.tail;
        return last != nullptr && last->subscription() && !last->cancel_requested;
    });
}

// Claims the socket for the thread that posts a subscription. False: another thread has it.
bool begin_subscribing(SocketObject& socket) {
    const std::lock_guard guard(socket.binding->links_mutex);
    const bool free = !socket.subscribing;
    socket.subscribing = true;
    return free;
}

// A subscription: the port keeps the Socket, and the Socket its callbacks, while it stands. Of
// several threads that subscribe at once one succeeds; a refused post leaves everything as it was.
// Another subscription, whose end is not told yet, may be in front of it: what that one has taken
// goes to the new callbacks.
PyObject* subscribe(SocketObject& socket, Post& what, PyObject* on_item, PyObject* on_close,
                    PyObject* on_error) {
    PortObject& port = *socket.binding;
    auto* self = reinterpret_cast<PyObject*>(&socket);
    if (on_item == nullptr) {
        return raise(*port.types, ErrorClass::argument_type, EINVAL,
                     "a subscription needs a callback to give its results to");
    }
    const bool mine = begin_subscribing(socket);
    if (!mine || subscription_stands(socket)) {
        if (mine) {
            const std::lock_guard guard(port.links_mutex);
            socket.subscribing = false;
        }
        return raise(*port.types, ErrorClass::argument, EINVAL,
                     "a subscription stands on this socket already; cancel it first");
    }
    PyObject* others[3] = {Py_NewRef(on_item), Py_XNewRef(on_close), Py_XNewRef(on_error)};
    const auto exchange = [&] {
        std::swap(socket.on_item, others[0]);
        std::swap(socket.on_close, others[1]);
        std::swap(socket.on_error, others[2]);
    };
    bool linked = false;
    Py_INCREF(self);
    {
        const std::lock_guard guard(port.links_mutex);
        ++socket.subscribed;
        exchange();
        linked = !socket.links.linked();
        if (linked) {
            port.sockets.add(socket);
        }
    }
    if (!linked) {
        Py_DECREF(self);
    }
    PyObject* op = posted(socket, what);
    PyObject* raised = PyErr_GetRaisedException();
    {
        const std::lock_guard guard(port.links_mutex);
        socket.subscribing = false;
        linked = false;
        if (op == nullptr) {
            exchange();
            // One that is ending stays the port's until it is closed, and so does one whose last
            // subscription is still to be told of.
            linked = --socket.subscribed == 0 && !socket.ending && socket.links.linked();
            if (linked) {
                port.sockets.remove(socket);
            }
        }
    }
    if (linked) {
        Py_DECREF(self);
    }
    for (PyObject* other : others) {
        Py_XDECREF(other);
    }
    PyErr_SetRaisedException(raised);
    return op;
}

PyObject* accept_each(PyObject* self, PyObject* const* given, Py_ssize_t count,
                      PyObject* keywords) {
    static constexpr Signature<2> signature{"accept_each", {"callback", "on_error"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 2> arguments{};
    Post what;
    what.kind = Kind::accept_each;
    PyObject* on_item = nullptr;
    PyObject* on_error = nullptr;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) || !to_callback(types, arguments[1], on_error)) {
        return nullptr;
    }
    return subscribe(socket, what, on_item, nullptr, on_error);
}

PyObject* receive(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    static constexpr Signature<4> signature{
        "receive", {"callback", "receive", "size", "on_close"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = Kind::receive_each;
    PyObject* on_item = nullptr;
    PyObject* on_close = nullptr;
    Py_ssize_t size = 4096;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) ||
        !to_strategy(types, arguments[1], what.strategy) ||
        !to_size(types, arguments[2], "size", 1, size) ||
        !to_callback(types, arguments[3], on_close) || !usable(*socket.binding) ||
        !warn_before_strategy(socket, what.strategy)) {
        return nullptr;
    }
    what.block_size = static_cast<std::uint32_t>(size);
    return subscribe(socket, what, on_item, on_close, nullptr);
}

PyObject* receive_from(PyObject* self, PyObject* const* given, Py_ssize_t count,
                       PyObject* keywords) {
    static constexpr Signature<4> signature{
        "receive_from", {"callback", "size", "on_error", "on_close"}, 1, 1};
    constexpr std::size_t longest = 65535;  // a datagram of UDP, whatever its headers
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = Kind::receive_each;
    what.strategy = Receive::datagrams;
    PyObject* on_item = nullptr;
    PyObject* on_error = nullptr;
    PyObject* on_close = nullptr;
    auto size = static_cast<Py_ssize_t>(std::min(longest, socket.binding->core->most_datagram()));
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) ||
        !to_size(types, arguments[1], "size", 1, size) ||
        !to_callback(types, arguments[2], on_error) ||
        !to_callback(types, arguments[3], on_close)) {
        return nullptr;
    }
    what.block_size = static_cast<std::uint32_t>(size);
    return subscribe(socket, what, on_item, on_close, on_error);
}

}  // namespace

PyMethodDef subscription_methods[] = {
    {"accept_each", fast(guarded<accept_each>), keywords_call,
     "accept_each(callback, *, on_error=None) -> Operation\n\n"
     "Accepts every connection: callback(socket). An error of one accept never stops the listener: "
     "it\n"
     "is given to on_error(listener, exception), and without descriptors or memory accepting goes "
     "on\n"
     "after 100 ms. Ends with cancel() or the listener."},
    {"receive", fast(guarded<receive>), keywords_call,
     "receive(callback, *, receive='pooled', size=4096, on_close=None) -> Operation\n\n"
     "Receives everything: callback(socket, buffer), an empty Buffer exactly once at end of "
     "stream;\n"
     "close() is then the application's. on_close(socket, exception or None) comes exactly once, "
     "after\n"
     "the socket is closed, with the error if one closed it.\n"
     "receive: 'pooled' and 'zero_byte' keep no buffer while nothing arrives; 'direct' posts a "
     "block\n"
     "of size bytes, which is charged; 'adaptive' is zero_byte while little arrives and what costs "
     "least\n"
     "while much does (AdaptiveRule). receive_strategy changes it later."},
    {"receive_from", fast(guarded<receive_from>), keywords_call,
     "receive_from(callback, *, size=65535, on_error=None, on_close=None) -> Operation\n\n"
     "Receives every datagram of a datagram socket: callback(socket, buffer, address), where "
     "address is the\n"
     "sender as the socket module writes it, or None. An idle socket holds no memory; a turn takes "
     "at most\n"
     "drain_reads datagrams of each socket. size: bytes, up to the port's region_size less 144; a "
     "longer\n"
     "datagram is cut, and on_error(socket, Error with EMSGSIZE) comes before it. An error that "
     "the socket\n"
     "is told, such as ECONNREFUSED, goes to on_error as well and ends nothing; errors and nothing "
     "else are\n"
     "looked at again after 100 ms. on_close: as for receive(). Ends with cancel(), "
     "shutdown(SHUT_RD) or the\n"
     "socket."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
