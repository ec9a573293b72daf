#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bindings/compat.hpp"
#include "bindings/critical_section.hpp"
#include "bindings/held.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::aio {

// The fields of a stream's transport. They lie behind those of asyncio's own class, whose size only
// the running interpreter knows.
//
// The interpreter visits and clears the objects, because the type lists them as members. Without a
// GIL another thread may replace one at any time, so they are read and replaced with the
// transport's critical section held.
struct StreamFields {
    PyObject* core;  // the Socket; null before _open()
    PyObject* sock;  // the socket.socket whose descriptor the Socket borrows
    PyObject* protocol;
    PyObject* context;      // the contextvars.Context of every call of the protocol
    PyObject* server;       // of an accepted connection
    PyObject* write_error;  // an error of a write, which waits for data that has arrived
    PyObject* held;         // data that a BufferedProtocol has left by a pause
    PyObject* extra;        // the dict of get_extra_info(), made by its first use
    PyObject* names;        // the raw addresses, kept for the time after the end
    PyObject* weak_references;
    std::size_t high;    // bytes to send above which the protocol pauses
    std::uint32_t turn;  // the port's turn in which the transport last sent by a call
    int descriptor;      // the number, also once it is closed
    int conn_lost;       // counts from the moment that connection_lost() is scheduled
    // The raw address of an accepted connection's peer. A longer one is asked of the Socket.
    std::array<std::byte, 28> peer;
    std::uint8_t peer_length;
    // The flags of asyncio's transports, which Python writes.
    char closing;
    char paused;
    char eof;
    char sending_file;
    char protocol_connected;
    char read_ended;
    char buffered;    // the protocol is a BufferedProtocol
    char subscribed;  // the Socket receives for this transport
    char over;        // the Socket was given up, because connection_lost() was called
};

// Where StreamFields begin in an object. The import writes it, before there is an object.
extern Py_ssize_t fields_at;

inline StreamFields& fields_of(PyObject* self) noexcept {
    return *reinterpret_cast<StreamFields*>(reinterpret_cast<char*>(self) + fields_at);
}

// Returns a new reference to an object of the transport, or null.
inline py::Held taken(PyObject* self, PyObject* StreamFields::*which) {
    const py::CriticalSection section(self);
    return py::Held(Py_XNewRef(fields_of(self).*which));
}

// Returns the Socket of an open transport: a new reference. Null before and after.
inline py::Held open_core(PyObject* self) {
    const py::CriticalSection section(self);
    const StreamFields& fields = fields_of(self);
    return py::Held(fields.over != 0 ? nullptr : Py_XNewRef(fields.core));
}

// Keeps the raw addresses of a Socket that may be gone when get_extra_info() is asked.
void keep_names(PyObject* self, py::SocketObject& socket);

// Has the port keep the transport while it receives or has sends that wait, as asyncio's selector
// keeps what it watches.
void keep_while_busy(PyObject* self, py::SocketObject& socket);

// The names and numbers that the calls of a protocol need.
struct StreamNames final : py::Addition {
    PyObject* data_received{nullptr};
    PyObject* get_buffer{nullptr};
    PyObject* buffer_updated{nullptr};
    PyObject* any_size{nullptr};  // -1, the argument of get_buffer()

    // False: an exception is set.
    [[nodiscard]] bool make();
    ~StreamNames() override;
};

// Returns the type StreamBase: a new reference, or null. Its first use makes it, because asyncio is
// not imported before.
PyObject* stream_type(PyObject* module, py::Types& types);

// The method tables of StreamBase, in the files that have their functions.
extern PyMethodDef stream_name_methods[];      // stream_names.cpp
extern PyMethodDef stream_reading_methods[];   // stream_reading.cpp
extern PyMethodDef stream_delivery_methods[];  // stream_delivery.cpp
extern PyMethodDef stream_writing_methods[];   // stream_writing.cpp
// The functions of the type as a native receiver (stream_delivery.cpp).
void make_sink(py::DataSink& sink);

inline py::SocketObject* socket_in(const py::Held& core) noexcept {
    return reinterpret_cast<py::SocketObject*>(core.get());
}

}  // namespace iocp::aio
