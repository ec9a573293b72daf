#pragma once

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"

// The meaning of a stream's receive that got no bytes.
namespace iocp {

// Returns whether it is the end of the stream. Under Wine 8.0 it may also mean that the posting
// thread ended while data arrived. The data is then still there.
bool at_end(SOCKET socket) noexcept;
// Returns whether a poll shows an error. Wine 8.0 reports a reset to one call only; later calls
// read the end of the stream, though a poll still shows the error. Windows reports it to every
// call, so there the poll only costs one call at a connection's end.
bool was_reset(SOCKET socket) noexcept;
// Turns the end of a stream that a reset has ended into that reset.
StartResult checked(const Socket& socket, const StartResult& result) noexcept;

}  // namespace iocp
