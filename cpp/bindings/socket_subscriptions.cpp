// The subscriptions of a Socket: operations that yield many results.
#include <algorithm>
#include <cerrno>

#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/port_object.hpp"
#include "bindings/post.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/subscribe.hpp"
#include "bindings/types.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::py {

namespace {

bool subscription_stands(SocketObject& socket) {
    return peek(socket, false, [](const Socket& core) {
        const Operation* last = core.receiving.tail;
        return last != nullptr && last->subscription() && !last->cancel_requested;
    });
}

// Claims the socket for the thread that posts a subscription. False: another thread has claimed it.
bool begin_subscribing(SocketObject& socket) {
    const std::lock_guard guard(socket.binding->links_mutex);
    const bool free = !socket.subscribing;
    socket.subscribing = true;
    return free;
}

PyObject* accept_each(PyObject* self, PyObject* const* given, Py_ssize_t count,
                      PyObject* keywords) {
    static constexpr Signature<3> signature{
        "accept_each", {"callback", "on_error", "_names_peers"}, 1, 1};
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 3> arguments{};
    Post what;
    what.kind = OperationKind::accept_each;
    PyObject* on_item = nullptr;
    PyObject* on_error = nullptr;
    if (!signature.parse(types, given, count, keywords, arguments) ||
        !to_callback(types, arguments[0], on_item) || !to_callback(types, arguments[1], on_error)) {
        return nullptr;
    }
    {
        const std::lock_guard guard(socket.binding->links_mutex);
        socket.names_peers = arguments[2] == Py_True;
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
    what.kind = OperationKind::receive_each;
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
    constexpr std::size_t longest = 65535;  // an upper limit for a UDP datagram
    SocketObject& socket = socket_of(self);
    const Types& types = *socket.binding->types;
    std::array<PyObject*, 4> arguments{};
    Post what;
    what.kind = OperationKind::receive_each;
    what.strategy = ReceiveStrategy::datagrams;
    PyObject* on_item = nullptr;
    PyObject* on_error = nullptr;
    PyObject* on_close = nullptr;
    auto size =
        static_cast<Py_ssize_t>(std::min(longest, datagram::max_size(*socket.binding->pool)));
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

// Posts a subscription. While the subscription lives, the port keeps the Socket, and the Socket
// keeps the callbacks. If several threads subscribe at once, one of them succeeds. A refused post
// changes nothing. A cancelled subscription may still be ahead in the lane; its remaining data goes
// to the new callbacks.
PyObject* subscribe(SocketObject& socket, Post& what, PyObject* on_item, PyObject* on_close,
                    PyObject* on_error) {
    PortObject& port = *socket.binding;
    auto* self = reinterpret_cast<PyObject*>(&socket);
    if (on_item == nullptr) {
        return raise(*port.types, ErrorClass::argument_type, EINVAL,
                     "a subscription needs a callback for its results; give a callable");
    }
    const bool mine = begin_subscribing(socket);
    if (!mine || subscription_stands(socket)) {
        if (mine) {
            const std::lock_guard guard(port.links_mutex);
            socket.subscribing = false;
        }
        return raise(*port.types, ErrorClass::argument, EINVAL,
                     "this socket has a subscription already; cancel that one first");
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
            // The port keeps a closing socket until it is closed. The port also keeps a socket as
            // long as the completion of a subscription is not handed out.
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

PyMethodDef subscription_methods[] = {
    {"accept_each", fast(guarded<accept_each>), keywords_call,
     "accept_each(callback, *, on_error=None) -> Operation\n\n"
     "Accepts every connection and calls callback(socket) for it. An error of one accept does\n"
     "not stop the listener: on_error(listener, exception) gets it. If descriptors or memory\n"
     "run out, accepting goes on after 100 ms. The subscription ends with cancel() or with the\n"
     "listener."},
    {"receive", fast(guarded<receive>), keywords_call,
     "receive(callback, *, receive='pooled', size=4096, on_close=None) -> Operation\n\n"
     "Receives all data and calls callback(socket, buffer) for it. An empty Buffer comes\n"
     "exactly once, at the end of the stream; the program then closes the socket.\n"
     "on_close(socket, exception or None) is called exactly once after the socket is closed,\n"
     "with the error that closed it. The strategies 'pooled' and 'zero_byte' keep no buffer\n"
     "while no data arrives. 'direct' posts a block of size bytes, which is charged.\n"
     "'adaptive' is zero_byte while there is little traffic, and takes the cheapest strategy\n"
     "while there is much (AdaptiveRule). receive_strategy changes the strategy later."},
    {"receive_from", fast(guarded<receive_from>), keywords_call,
     "receive_from(callback, *, size=65535, on_error=None, on_close=None) -> Operation\n\n"
     "Receives every datagram of a datagram socket and calls callback(socket, buffer, address)\n"
     "for it. address is the sender's in the socket module's form, or None. An idle socket\n"
     "holds no memory. A turn takes at most drain_reads datagrams of each socket. size is the\n"
     "maximum in bytes, at most the port's region_size less 144. A longer datagram is\n"
     "truncated; on_error(socket, Error with EMSGSIZE) is called before its callback. Other\n"
     "errors that the system reports, such as ECONNREFUSED, also go to on_error and end\n"
     "nothing. While a socket yields only errors it is read every 100 ms. on_close is as for\n"
     "receive(). The subscription ends with cancel(), shutdown(SHUT_RD) or the socket."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::py
