#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bindings/compat.hpp"
#include "bindings/data_sink.hpp"

namespace iocp::py {

// The exception classes that C++ raises, as indices of Types::errors.
enum class ErrorClass : std::uint8_t {
    error,
    cancelled,
    timed_out,
    socket_closed,
    port_closed,
    argument,
    argument_type,
    wrong_thread,
    port_running,
    forked,
    unavailable,
    exhausted,
    budget,
    nothing_due,
    still_pending,
};
inline constexpr std::size_t error_classes = 15;

// The Python types and exception classes of one import of the module. Every port keeps them alive.
struct Types {
    PyTypeObject* buffer{nullptr};
    PyTypeObject* operation{nullptr};
    PyTypeObject* completion{nullptr};
    PyTypeObject* timer{nullptr};
    PyTypeObject* socket{nullptr};
    PyTypeObject* registered{nullptr};
    PyTypeObject* event{nullptr};
    PyTypeObject* handle{nullptr};
    PyTypeObject* timer_handle{nullptr};
    PyTypeObject* event_loop{nullptr};
    PyObject* errors[error_classes]{};
    PyObject* routines_ran{nullptr};
    DataSink sink;                      // the transport of a stream
    std::unique_ptr<Addition> of_sink;  // what its functions need
    // Numbers of Python's errno module, which has Winsock's numbers for these names on Windows.
    int timed_out_code{0};
    int no_buffers_code{0};
    int message_size_code{0};
    Types() = default;
    ~Types();
    Types(const Types&) = delete;
    Types& operator=(const Types&) = delete;
};

}  // namespace iocp::py
