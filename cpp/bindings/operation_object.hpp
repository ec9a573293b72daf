#pragma once

#include <atomic>
#include <cstdint>

#include "base/error.hpp"
#include "bindings/core_side.hpp"
#include "bindings/linked_list.hpp"
#include "bindings/types.hpp"
#include "ops/operation.hpp"

namespace iocp::py {

class Envelope;
struct SocketObject;

// The receiver of an operation's completion: the port's queue, an event, or a routine.
enum class Recipient : std::uint8_t { port, event, routine };

// The Python object Operation.
struct OperationObject {
    PyObject_HEAD
    SocketObject* socket;      // strong
    CoreSide<Operation> core;  // null once its completion was handed out
    PyObject* callback;        // or the Event, or the bound routine, as `recipient` says
    PyObject* data;
    // accept(): the Socket that the post made. The Socket has its connection once `settled` is
    // true.
    PyObject* accepted;
    PyObject* error;     // made of `failure` at the first request
    Envelope* envelope;  // owned; null for an operation with a single plain buffer
    Py_ssize_t transferred;
    Links<OperationObject> links;
    Error failure;
    std::uint32_t sequence;
    std::int32_t flags;  // MSG_* flags that a receive brought
    OperationKind kind;
    Outcome outcome;
    // Whether this Operation has its result. Set after all other fields, so that a thread that sees
    // true also sees every field.
    std::atomic<bool> settled;
    bool hands_out_block;  // the block becomes the Buffer in `data`
    Recipient recipient;
    // The number of result() calls that wait, or that have returned the result. While it is not 0,
    // get() does not return the operation's Completion.
    std::atomic<std::uint16_t> claims;
};

// The Python object Completion, which get() returns.
struct CompletionObject {
    PyObject_HEAD
    PyObject* operation;  // null: a packet posted by the application
    PyObject* value;
};

PyTypeObject* make_operation_type(PyObject* module);
PyTypeObject* make_completion_type(PyObject* module);
OperationObject* new_operation(SocketObject& socket, OperationKind kind, PyObject* callback);
// Copies the result from the core's operation to the Python object, once, and without a call into
// Python. Precondition: the core's operation has completed.
void settle(OperationObject& operation);
// Returns whether the operation has completed. If so, calls settle() first.
bool is_done(OperationObject& operation);
// Returns a new reference to the error that the operation ended with, or to None. Null: an
// exception is set.
PyObject* error_of(OperationObject& operation);
// The error of a receive whose Buffer could not be allocated.
inline constexpr Error no_buffer =
    Error::of(Fault::resource, "no memory for the Buffer that was received");
// Moves the block of a finished receive into `blank`, an empty Buffer, which becomes the
// operation's `data`. The block is that of `lease`, or of the envelope's lease. False: `blank` is
// null.
bool take_block(OperationObject& operation, PyObject* blank, Lease& lease) noexcept;
PyObject* new_completion(const Types& types, PyObject* operation, PyObject* value);
const char* kind_name(OperationKind kind) noexcept;

// Implements Operation.result().
PyObject* operation_result(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords);

}  // namespace iocp::py
