#pragma once

#include <atomic>
#include <cstdint>

#include "bindings/compat.hpp"
#include "bindings/core_side.hpp"
#include "bindings/linked_list.hpp"
#include "ops/socket.hpp"

namespace iocp::py {

struct PortObject;

// The Python object Socket.
struct SocketObject {
    PyObject_HEAD
    PyObject* port;         // strong
    PortObject* binding;    // the C++ value of `port`
    CoreSide<Socket> core;  // null once `closed` was handed out
    // The callback of a subscription. receive() calls it with (socket, Buffer), receive_from() with
    // the sender too, and accept_each() with (socket). Once `blamed`: the exception of a callback.
    PyObject* on_item;
    PyObject* on_close;   // (socket, exception or None)
    PyObject* on_error;   // (socket, exception): one failed accept or datagram
    PyObject* on_pause;   // (socket): the bytes queued to send passed the high mark
    PyObject* on_resume;  // (socket): the queued bytes fell to the low mark
    PyObject* user;       // the caller's own; null stands for None
    Links<SocketObject> links;
    std::int16_t family;
    std::int16_t protocol;
    std::uint8_t type;
    std::atomic<std::uint8_t> subscribed;  // subscriptions whose completion is not handed out yet
    std::atomic<bool> ending;  // close(), abort() or detach() was called, or a callback raised
    // The two flags are read and written with links_mutex held.
    bool blamed : 1;       // a callback raised, which closes the socket
    bool subscribing : 1;  // a thread is in a call that posts a subscription
    bool names_peers : 1;  // a listener's on_item gets the raw address of each peer as well
};

// An idle connection costs one SocketObject: a block of 128 bytes together with its header. The
// header is the collector's 16 bytes in front of PyObject, or, without a GIL, a PyObject that is 16
// bytes longer.
static_assert(sizeof(void*) != 8 || sizeof(SocketObject) - sizeof(PyObject) <= 96);

inline SocketObject& socket_of(PyObject* self) noexcept {
    return *reinterpret_cast<SocketObject*>(self);
}

PyTypeObject* make_socket_type(PyObject* module);
// Makes the Socket of an accepted connection. Without memory for the Socket, the connection is
// closed.
SocketObject* new_socket(PyObject* port, PortObject& binding, Socket& accepted);
// new_socket() in two steps: blank_socket() makes the Python object, and attach() links it with the
// core's socket before any other thread can find either. For a new core socket attach() needs the
// port's lock. For an accepted one it needs links_mutex, and claim() afterwards.
SocketObject* blank_socket(PyObject* port, PortObject& binding);
void attach(SocketObject& socket, Socket& core) noexcept;
void claim(PortObject& port, Socket& accepted);
// Returns the native receiver of the socket of this name: a new reference, or null.
PyObject* receiver_of(PortObject& port, SlotId name);
// Closes a forked child's copy of the descriptor. The connection stays the parent's.
void close_in_child(SocketObject& socket) noexcept;
// Closes the connection that a callback served, because the callback raised. on_close gets the
// exception. Listeners and datagram sockets stay open, because they serve other peers too. A socket
// that is closing already is left alone.
void close_for(SocketObject& socket, PyObject* exception);

}  // namespace iocp::py
