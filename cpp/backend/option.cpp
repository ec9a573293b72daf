#include "backend/option.hpp"

#include "native_sockets.hpp"

namespace iocp {

const Option option_send_buffer{SOL_SOCKET, SO_SNDBUF};
const Option option_receive_buffer{SOL_SOCKET, SO_RCVBUF};
const Option option_nodelay{IPPROTO_TCP, TCP_NODELAY};

}  // namespace iocp
