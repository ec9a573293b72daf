#pragma once

#include <memory>
#include <optional>

#include "bindings/arguments.hpp"
#include "bindings/envelope.hpp"
#include "bindings/event_object.hpp"

namespace iocp::py {

inline SocketObject& socket_of(PyObject* self) noexcept {
    return *reinterpret_cast<SocketObject*>(self);
}

// What a Socket is asked to post. Until it is posted, whoever fills it in gives its lease back.
struct Post {
    Kind kind{Kind::receive};
    Lease lease;
    std::unique_ptr<Envelope> envelope;  // instead of the lease
    int flags{0};
    std::int64_t timeout{-1};
    PyObject* callback{nullptr};  // or the Event, or the routine, as `tells` says
    Tells tells{Tells::port};
    bool hands_out_block{false};
    std::optional<Receive> strategy{Receive::pooled};  // none: adaptive
    std::uint32_t block_size{0};
    bool from_file{false};
    bool reuse{false};
};

// Posts and returns a new reference to the Operation; null with an exception set, and the lease
// given back.
PyObject* posted(SocketObject& socket, Post& what);

// A block of the pool for `nbytes`, which is checked. False: exception set.
bool to_block(PortObject& port, PyObject* nbytes, Lease& out);
// The caller's writable buffer, of at least a byte. False: exception set.
bool to_room(const Types& types, PyObject* buffer, Lease& out);

// What every single operation takes beside its data: `rest` is callback, timeout and event.
bool to_common(const Types& types, PyObject* flags, PyObject* const* rest, Post& what);
// And what sends and receives of bytes take as well, on sockets that are attached to no port.
bool to_routine(const SocketObject& socket, PyObject* given, Post& what);

}  // namespace iocp::py
