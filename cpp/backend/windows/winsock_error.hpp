#pragma once

#include <cstdint>

namespace iocp {

struct Operation;

// Returns the Winsock number of an error where there is one. Winsock, Win32 and the completion port
// number the same error differently.
int winsock_code(unsigned long code) noexcept;

// Reports ICMP's answer to an earlier datagram as a refusal, as other systems do. Windows calls it
// a reset, although there is no connection.
int code_of_socket(int code, bool stream) noexcept;

bool code_exhausted(int code) noexcept;
bool code_cancelled(int code) noexcept;
bool code_fatal(const Operation& op, int code) noexcept;

}  // namespace iocp
