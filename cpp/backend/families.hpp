#pragma once

namespace iocp {

// The platform's numbers of the families and types that this library names; -1 where it lacks one.
extern const int family_inet;
extern const int family_inet6;
extern const int family_unix;
extern const int type_stream;

}  // namespace iocp
