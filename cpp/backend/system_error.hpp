#pragma once

#include <string>

namespace iocp {

// Returns the system's text for one of its error numbers.
std::string error_text(int code);

// Whether this platform's backends use Windows error codes.
extern const bool errors_are_windows_codes;

// The platform's error number for an unsupported call (EOPNOTSUPP).
extern const int code_not_offered;

}  // namespace iocp
