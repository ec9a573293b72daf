#pragma once

#include "backend/windows/winsock.hpp"
#include "base/address.hpp"

// Calls on new sockets, for the parts of the backend that make sockets.
namespace iocp {

// Sets the mode of the socket's calls without an OVERLAPPED. Calls with one are not affected.
// Returns an error of Winsock, or 0.
int set_nonblocking(SOCKET socket, bool on) noexcept;
// Keeps child processes from inheriting the handle, and makes its calls without an OVERLAPPED
// non-blocking. Returns an error of Winsock, or 0.
int own(SOCKET socket) noexcept;
// Returns the peer's address. Its length is 0 for a connection that is over, because Windows then
// names no peer.
Address peer_of(SOCKET socket) noexcept;

}  // namespace iocp
