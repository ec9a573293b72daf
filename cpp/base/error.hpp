#pragma once

#include <cstddef>
#include <cstdint>

namespace iocp {

// The kinds of failure of this library. `Error::code` keeps the system's own number beside the
// kind.
enum class Fault : std::uint8_t {
    none,
    system,         // the operating system refused; `code` is its error number
    resource,       // the system lacks memory, buffers or descriptors (R08, R10)
    budget,         // the application's own budget or cap refused (R07)
    cancelled,      // the operation was cancelled before it finished
    timed_out,      // the operation's own timeout passed
    socket_closed,  // the socket is closed or closing, or its sending side is shut down
    port_closed,    // the port is closed
    truncated,      // a datagram was longer than its buffer
    argument,       // invalid arguments, or arguments that the backend does not support
    wrong_thread,   // another thread runs this port
    forked,         // the port belongs to the parent process
    nothing_due,    // in virtual time: no event is due that could end this wait
};
inline constexpr std::size_t faults = 13;

struct Error {
    Fault fault{Fault::none};
    int code{0};
    const char* text{nullptr};  // static storage; null means the system's own text for `code`

    [[nodiscard]] explicit operator bool() const noexcept { return fault != Fault::none; }

    static constexpr Error of(Fault fault, const char* text) noexcept { return {fault, 0, text}; }
};

}  // namespace iocp
