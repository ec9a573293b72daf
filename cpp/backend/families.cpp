#include "backend/families.hpp"

#include "native_sockets.hpp"

namespace iocp {

const int family_inet = AF_INET;
const int family_inet6 = AF_INET6;
const int family_unix = AF_UNIX;
const int type_stream = SOCK_STREAM;

}  // namespace iocp
