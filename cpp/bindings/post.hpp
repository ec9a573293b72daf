#pragma once

#include <memory>
#include <optional>

#include "bindings/arguments.hpp"
#include "bindings/envelope.hpp"
#include "bindings/event_object.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

// The arguments of one post. Until posted() is called, the code that fills the struct in gives the
// lease back if it fails.
struct Post {
    OperationKind kind{OperationKind::receive};
    Lease lease;
    std::unique_ptr<Envelope> envelope;  // instead of the lease
    int flags{0};
    std::int64_t timeout{-1};
    PyObject* callback{nullptr};  // or the Event, or the routine, as `recipient` says
    Recipient recipient{Recipient::port};
    bool hands_out_block{false};
    std::optional<ReceiveStrategy> strategy{ReceiveStrategy::pooled};  // none: adaptive
    std::uint32_t block_size{0};
    bool from_file{false};
    bool reuse{false};
    bool divisible{false};
};

// Posts an operation, and returns a new reference to its Operation object. Null: an exception is
// set, and the lease was given back.
PyObject* posted(SocketObject& socket, Post& what);

// Checks `nbytes`, and takes a block of that size from the pool. False: an exception is set.
bool to_block(PortObject& port, PyObject* nbytes, Lease& out);
// Leases the caller's writable buffer of at least one byte. False: an exception is set.
bool to_room(const Types& types, PyObject* buffer, Lease& out);

// Converts the arguments that every single operation has: flags, and in `rest` the callback, the
// timeout and the event.
bool to_common(const Types& types, PyObject* flags, PyObject* const* rest, Post& what);
// Converts the completion routine of a send or receive, which only sockets that are attached to no
// port take.
bool to_routine(const SocketObject& socket, PyObject* given, Post& what);

}  // namespace iocp::py
