// The only table of Linux error numbers and their effects on the socket (R05, R08, R10, R32).
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

#include "backend/linux/call.hpp"
#include "backend/linux/linux_backend.hpp"
#include "backend/system_error.hpp"

namespace iocp {

const bool errors_are_windows_codes = false;
const int code_not_offered = EOPNOTSUPP;

std::string error_text(int code) { return std::generic_category().message(code); }

BackendReason LinuxBackend::refusal(const char* call, int code) const {
    return {std::string(call) + ": " + error_text(code), code, exhausted(code)};
}

bool LinuxBackend::exhausted(int code) const noexcept {
    return code == ENOBUFS || code == ENOMEM || code == EMFILE || code == ENFILE;
}

// EAGAIN means a full queue for a connect to an AF_UNIX listener, and for a datagram to an AF_UNIX
// address. For any other connect it means that no local port is left. For a disconnect EAGAIN means
// that the peer has not acknowledged everything yet.
bool LinuxBackend::queue_full(const Operation& op, int code) const noexcept {
    return code == EAGAIN && (goes_blind(op) || op.kind == OperationKind::disconnect ||
                              (op.kind == OperationKind::connect && op.socket->family == AF_UNIX));
}

bool LinuxBackend::ends_sending(int code) const noexcept { return code == EPIPE; }

std::int64_t LinuxBackend::cancel_code() const noexcept { return -ECANCELED; }

int LinuxBackend::memory_code() const noexcept { return ENOMEM; }

bool LinuxBackend::cancelled(int code) const noexcept { return code == ECANCELED; }

bool LinuxBackend::fatal(const Operation& op, int code) const noexcept {
    if (exhausted(code) || cancelled(code)) {
        return false;
    }
    switch (code) {
        case EBADF:
            // The bad descriptor may be ancillary data or the file, not the socket.
            return ::fcntl(fd_of(*op.socket), F_GETFD) < 0;
        case ENOTSOCK:
            return true;
        case EINVAL:
        case EOPNOTSUPP:
            return op.kind == OperationKind::accept_each;  // not a listener, or no longer one
        case ECONNRESET:
        case EPIPE:
        case ETIMEDOUT:
        case ENETDOWN:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ECONNABORTED:
        case ENETRESET:
            // These errors end only a connected stream. One failed connection does not end its
            // listener, one failed datagram does not end its socket, and an unconnected socket may
            // connect again.
            return op.socket->connected && op.socket->stream;
        default:
            return false;
    }
}

}  // namespace iocp
