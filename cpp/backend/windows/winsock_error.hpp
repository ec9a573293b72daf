#pragma once

#include <cstdint>

namespace iocp {

struct Operation;

// Translates an error number of Win32 or of a completion port to Winsock's, because one error has
// several numbers. A number without a translation is returned unchanged.
int winsock_code(unsigned long code) noexcept;

// Turns a reset of a datagram socket into a refusal, as other systems report it. Windows reports an
// ICMP answer to an earlier datagram as WSAECONNRESET, although there is no connection.
int code_of_socket(int code, bool stream) noexcept;

bool code_exhausted(int code) noexcept;
bool code_cancelled(int code) noexcept;
bool code_fatal(const Operation& op, int code) noexcept;

}  // namespace iocp
