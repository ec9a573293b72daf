// The only table of Windows error numbers and their effects on the socket (R05, R08, R10, R32).
#include "backend/windows/winsock_error.hpp"

#include "backend/system_error.hpp"
#include "backend/windows/winsock.hpp"
#include "ops/operation.hpp"
#include "ops/socket.hpp"

namespace iocp {

const bool errors_are_windows_codes = true;
const int code_not_offered = WSAEOPNOTSUPP;

std::string error_text(int code) {
    char* text = nullptr;
    const DWORD length = ::FormatMessageA(
        FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS,
        nullptr, static_cast<DWORD>(code), MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US),
        reinterpret_cast<char*>(&text), 0, nullptr);
    std::string result(text != nullptr ? text : "", length);
    (void)::LocalFree(text);
    while (!result.empty() && (result.back() == '\n' || result.back() == '\r' ||
                               result.back() == ' ' || result.back() == '.')) {
        result.pop_back();
    }
    return result.empty() ? "Windows error " + std::to_string(code) : result;
}

int winsock_code(unsigned long code) noexcept {
    switch (code) {
        case ERROR_OPERATION_ABORTED:  // 995
        case 676:  // ERROR_ABANDON_HIBERFILE: Wine reports it for a closed handle
            return WSA_OPERATION_ABORTED;
        case ERROR_NETNAME_DELETED:  // 64
            return WSAECONNRESET;
        case ERROR_CONNECTION_ABORTED:  // 1236
            return WSAECONNABORTED;
        case ERROR_CONNECTION_REFUSED:
            return WSAECONNREFUSED;
        case ERROR_NETWORK_UNREACHABLE:
            return WSAENETUNREACH;
        case ERROR_HOST_UNREACHABLE:
            return WSAEHOSTUNREACH;
        case ERROR_PORT_UNREACHABLE:
            return WSAECONNRESET;
        case ERROR_SEM_TIMEOUT:
            return WSAETIMEDOUT;
        case ERROR_MORE_DATA:
            return WSAEMSGSIZE;
        case ERROR_INVALID_HANDLE:
            return WSAENOTSOCK;
        case ERROR_INVALID_PARAMETER:
            return WSAEINVAL;
        case ERROR_GRACEFUL_DISCONNECT:
            return WSAEDISCON;
        case ERROR_TOO_MANY_OPEN_FILES:
            return WSAEMFILE;
        default:
            return static_cast<int>(code);
    }
}

int code_of_socket(int code, bool stream) noexcept {
    return code == WSAECONNRESET && !stream ? WSAECONNREFUSED : code;
}

bool code_exhausted(int code) noexcept {
    switch (code) {
        case WSAENOBUFS:
        case WSAEMFILE:
        case WSA_NOT_ENOUGH_MEMORY:
        case ERROR_NO_SYSTEM_RESOURCES:  // 1450, which documents call ERROR_INSUFFICIENT_RESOURCES
        case ERROR_WORKING_SET_QUOTA:    // 1453
        case ERROR_PAGEFILE_QUOTA:       // 1454
        case ERROR_COMMITMENT_LIMIT:     // 1455
        case ERROR_NONPAGED_SYSTEM_RESOURCES:
        case ERROR_PAGED_SYSTEM_RESOURCES:
        case ERROR_NOT_ENOUGH_QUOTA:  // 1816: pages could not be locked
        case ERROR_OUTOFMEMORY:
            return true;
        default:
            return false;
    }
}

bool code_cancelled(int code) noexcept { return code == WSA_OPERATION_ABORTED; }

bool code_fatal(const Operation& op, int code) noexcept {
    if (code_exhausted(code) || code_cancelled(code)) {
        return false;
    }
    switch (code) {
        case WSAENOTSOCK:
        case WSAEBADF:
            return true;
        case WSAEINVAL:
        case WSAEOPNOTSUPP:
            return op.kind == OperationKind::accept_each;  // not a listener, or no longer one
        case WSAECONNRESET:
        case WSAECONNABORTED:
        case WSAENETRESET:
        case WSAESHUTDOWN:
        case WSAETIMEDOUT:
        case WSAENETDOWN:
        case WSAEHOSTUNREACH:
        case WSAENETUNREACH:
        case WSAEDISCON:
        case ERROR_BROKEN_PIPE:
        case ERROR_NO_DATA:  // the pipe is being closed
        case ERROR_PIPE_NOT_CONNECTED:
            // These errors end only a connected stream. One failed connection does not end its
            // listener, one failed datagram does not end its socket, and an unconnected socket may
            // connect again.
            return op.socket->connected && op.socket->stream;
        default:
            return false;
    }
}

}  // namespace iocp
