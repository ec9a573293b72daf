#pragma once

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"

// Finds out whether a stream's receive of 0 bytes is the end of the stream or hides a reset.
namespace iocp {

// Returns whether a receive of 0 bytes was the end of the stream. Under Wine 8.0 it may also mean
// that the posting thread ended while data arrived. The data is then still there.
bool at_end(SOCKET socket) noexcept;
// Returns whether a poll shows an error, which means that the connection was reset. Wine 8.0
// reports a reset to one call only; later calls read the end of the stream, though a poll still
// shows the error. Windows reports a reset to every call, so there the poll only costs one call at
// a connection's end.
bool was_reset(SOCKET socket) noexcept;
// Returns the result of a receive, or WSAECONNRESET in place of an end of stream that a reset has
// caused.
StartResult checked(const Socket& socket, const StartResult& result) noexcept;

}  // namespace iocp
