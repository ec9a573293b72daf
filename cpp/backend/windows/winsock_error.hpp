#pragma once

#include <cstdint>

namespace iocp {

struct Operation;

// Winsock, Win32 and the completion port call one thing by several numbers; this is the Winsock one
// wherever there is one.
int winsock_code(unsigned long code) noexcept;

// ICMP's answer to an earlier datagram is a refusal here as it is on other systems; Windows calls
// it a reset, of a connection that there is not.
int code_of_socket(int code, bool stream) noexcept;

bool code_exhausted(int code) noexcept;
bool code_cancelled(int code) noexcept;
bool code_fatal(const Operation& op, int code) noexcept;

}  // namespace iocp
