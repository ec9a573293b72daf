#pragma once

namespace iocp {

// The platform's numbers of the address families and the socket type that portable code uses.
extern const int family_inet;
extern const int family_inet6;
extern const int family_unix;
extern const int type_stream;

}  // namespace iocp
