#pragma once

namespace iocp {

// The platform's numbers for what this library names; -1 where the platform lacks it.
extern const int family_inet;
extern const int family_inet6;
extern const int family_unix;
extern const int type_stream;

}  // namespace iocp
