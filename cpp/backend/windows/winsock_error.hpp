#pragma once

#include <cstdint>

namespace iocp {

struct Operation;

// Winsock, Win32 and the completion port call one thing by several numbers; this is the Winsock one
// wherever there is one.
int winsock_code(unsigned long code) noexcept;

bool code_exhausted(int code) noexcept;
bool code_cancelled(int code) noexcept;
bool code_fatal(const Operation& op, int code) noexcept;

}  // namespace iocp
