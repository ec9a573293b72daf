#include "backend/sim/codes.hpp"

#include "ops/socket.hpp"

#ifdef _WIN32
#include <winsock2.h>
#define IOCP_SIM_CODE(posix, windows) windows
#else
#include <sys/socket.h>

#include <cerrno>
#define IOCP_SIM_CODE(posix, windows) posix
#endif

namespace iocp::sim {

const int code_bad_handle = IOCP_SIM_CODE(EBADF, WSAENOTSOCK);
const int code_invalid = IOCP_SIM_CODE(EINVAL, WSAEINVAL);
const int code_not_connected = IOCP_SIM_CODE(ENOTCONN, WSAENOTCONN);
const int code_already_connected = IOCP_SIM_CODE(EISCONN, WSAEISCONN);
const int code_broken = IOCP_SIM_CODE(EPIPE, WSAESHUTDOWN);
const int code_reset = IOCP_SIM_CODE(ECONNRESET, WSAECONNRESET);
const int code_refused = IOCP_SIM_CODE(ECONNREFUSED, WSAECONNREFUSED);
const int code_timed_out = IOCP_SIM_CODE(ETIMEDOUT, WSAETIMEDOUT);
const int code_no_buffers = IOCP_SIM_CODE(ENOBUFS, WSAENOBUFS);
const int code_in_use = IOCP_SIM_CODE(EADDRINUSE, WSAEADDRINUSE);
const int code_not_here = IOCP_SIM_CODE(EAFNOSUPPORT, WSAEAFNOSUPPORT);
const int code_no_option = IOCP_SIM_CODE(ENOPROTOOPT, WSAENOPROTOOPT);
const int code_cancelled = IOCP_SIM_CODE(ECANCELED, WSA_OPERATION_ABORTED);

const int flags_of_sends = IOCP_SIM_CODE(MSG_NOSIGNAL | MSG_DONTROUTE | MSG_MORE, MSG_DONTROUTE);
const int flags_of_receives =
    IOCP_SIM_CODE(MSG_PEEK | MSG_WAITALL | MSG_CMSG_CLOEXEC, MSG_PEEK | MSG_WAITALL);

bool code_is_fatal(const Operation& op, int code) noexcept {
    if (code == code_bad_handle) {
        return !op.from_file;  // the bad handle may be the file's
    }
    if (code == code_invalid) {
        return op.kind == OperationKind::accept_each;  // not a listener, or no longer one
    }
    const bool ends = code == code_reset || code == code_broken || code == code_timed_out;
    return ends && op.socket->connected && op.socket->stream;
}

}  // namespace iocp::sim
