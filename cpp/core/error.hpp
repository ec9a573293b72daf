#pragma once

#include <cstddef>
#include <cstdint>

namespace iocp {

// What went wrong, in the terms of this library; `code` keeps the system's own number beside it.
enum class Fault : std::uint8_t {
    none,
    system,         // the operating system refused: code is its error number
    resource,       // the system ran out of memory, buffers or descriptors (R08, R10)
    budget,         // the user's own budget or cap refused (R07)
    cancelled,      // the operation was cancelled before it finished
    timed_out,      // the operation's own timeout passed
    socket_closed,  // the socket is closed, closing, or its sending side is
    port_closed,    // the port is closed
    truncated,      // a datagram was longer than its room
    argument,       // the call's arguments cannot be served
    wrong_thread,   // another thread runs this port
    forked,         // the port belongs to the parent process
    nothing_due,    // a wait in virtual time that nothing could end
};
inline constexpr std::size_t faults = 13;

struct Error {
    Fault fault{Fault::none};
    int code{0};
    const char* text{nullptr};  // static storage; null: the system's text for `code`

    [[nodiscard]] explicit operator bool() const noexcept { return fault != Fault::none; }

    static constexpr Error of(Fault fault, const char* text) noexcept { return {fault, 0, text}; }
};

}  // namespace iocp
