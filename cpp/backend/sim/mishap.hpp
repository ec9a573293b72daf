#pragma once

#include <cstdint>

namespace iocp::sim {

// What befalls one end of a connection, by the seed or because a test asks for it.
enum class Mishap : std::uint8_t {
    reset,       // both ends are told that the connection is gone
    half_close,  // its sending side ends: the peer sees the end of the stream
    stall,       // nobody reads it any more: its window closes
    vanish,      // its host is gone without a word
};

}  // namespace iocp::sim
