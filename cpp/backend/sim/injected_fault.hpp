#pragma once

#include <cstdint>

namespace iocp::sim {

// A fault at one end of a connection, injected by the seed or by a test.
enum class InjectedFault : std::uint8_t {
    reset,       // both ends learn that the connection is gone
    half_close,  // its sending side ends: the peer sees the end of the stream
    stall,       // its reader stops: its window closes
    vanish,      // its host disappears silently
};

}  // namespace iocp::sim
