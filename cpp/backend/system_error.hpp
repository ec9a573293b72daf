#pragma once

#include <string>

namespace iocp {

// What the system says of one of its error numbers.
std::string error_text(int code);

// Whether the error numbers of this platform's backends are Windows error codes.
extern const bool errors_are_windows_codes;

// The platform's number for what it does not offer (EOPNOTSUPP).
extern const int code_not_offered;

}  // namespace iocp
