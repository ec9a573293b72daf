// Replacements of Winsock's calls, which follow a test's script.
#ifdef _WIN32

#include "winsock_seam.hpp"

namespace iocp::contract {

Script script;
Winsock real;

namespace {

bool refuse(int& left) {
    if (left == 0) {
        return false;
    }
    --left;
    ::WSASetLastError(script.code);
    return true;
}

int WSAAPI receive(SOCKET socket, LPWSABUF parts, DWORD count, LPDWORD bytes, LPDWORD flags,
                   LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (overlapped != nullptr) {
        ++script.receives;
        if (refuse(script.fail_receives)) {
            return SOCKET_ERROR;
        }
        if (script.cut_receives != 0) {
            --script.cut_receives;
            (void)real.receive(socket, parts, count, bytes, flags, overlapped, routine);
            ::WSASetLastError(WSAEMSGSIZE);
            return SOCKET_ERROR;
        }
    } else if (script.empty_reads != 0) {
        --script.empty_reads;
        ::WSASetLastError(WSAEWOULDBLOCK);
        return SOCKET_ERROR;
    }
    return real.receive(socket, parts, count, bytes, flags, overlapped, routine);
}

int WSAAPI send(SOCKET socket, LPWSABUF parts, DWORD count, LPDWORD bytes, DWORD flags,
                LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (overlapped != nullptr && refuse(script.fail_sends)) {
        return SOCKET_ERROR;
    }
    return real.send(socket, parts, count, bytes, flags, overlapped, routine);
}

SOCKET WSAAPI make_socket(int family, int type, int protocol, LPWSAPROTOCOL_INFOW info, GROUP group,
                          DWORD flags) {
    return refuse(script.fail_sockets) ? INVALID_SOCKET
                                       : real.socket(family, type, protocol, info, group, flags);
}

BOOL WINAPI accept_ex(SOCKET listener, SOCKET made, void* buffer, DWORD room, DWORD own, DWORD peer,
                      LPDWORD bytes, LPOVERLAPPED overlapped) {
    return refuse(script.fail_accepts)
               ? FALSE
               : real.accept_ex(listener, made, buffer, room, own, peer, bytes, overlapped);
}

int WSAAPI set_option(SOCKET socket, int level, int option, const char* value, int length) {
    if (level == SOL_SOCKET && option == SO_UPDATE_ACCEPT_CONTEXT) {
        ++script.accept_contexts;
        script.context_of = *reinterpret_cast<const SOCKET*>(value);
        if (refuse(script.fail_contexts)) {
            return SOCKET_ERROR;
        }
    }
    if (level == SOL_SOCKET && option == SO_UPDATE_CONNECT_CONTEXT) {
        ++script.connect_contexts;
    }
    return real.set_option(socket, level, option, value, length);
}

BOOL WINAPI cancel(HANDLE handle, LPOVERLAPPED overlapped) {
    ++script.cancels;
    if (script.deaf_to_cancels) {
        return TRUE;
    }
    if (script.lose_cancels != 0) {
        --script.lose_cancels;
        return TRUE;
    }
    return real.cancel(handle, overlapped);
}

BOOL WINAPI disconnect_ex(SOCKET socket, LPOVERLAPPED overlapped, DWORD flags, DWORD reserved) {
    ++script.disconnects;
    script.disconnect_flags = flags;
    if (script.disconnects_quietly) {
        overlapped->Internal = 0;
        ::WSASetLastError(WSA_IO_PENDING);
        return FALSE;
    }
    return real.disconnect_ex(socket, overlapped, flags, reserved);
}

BOOL WINAPI connect_ex(SOCKET socket, const sockaddr* where, int length, void* data, DWORD size,
                       LPDWORD bytes, LPOVERLAPPED overlapped) {
    ++script.connects;
    script.connected = socket;
    return real.connect_ex(socket, where, length, data, size, bytes, overlapped);
}

BOOL WINAPI transmit_file(SOCKET socket, HANDLE file, DWORD count, DWORD part,
                          LPOVERLAPPED overlapped, LPTRANSMIT_FILE_BUFFERS buffers, DWORD flags) {
    if (script.lose_files == 0) {
        return real.transmit_file(socket, file, count, part, overlapped, buffers, flags);
    }
    --script.lose_files;
    WSABUF nothing{};
    DWORD bytes = 0;
    // This send has no bytes. It only queues the packet of `overlapped`.
    (void)real.send(socket, &nothing, 1, &bytes, 0, overlapped, nullptr);
    overlapped->Internal = static_cast<ULONG_PTR>(STATUS_PENDING);
    ::WSASetLastError(WSA_IO_PENDING);
    return FALSE;
}

BOOL WINAPI no_modes(HANDLE /*handle*/, UCHAR /*modes*/) { return FALSE; }

}  // namespace

Winsock scripted_table(bool skips) {
    Winsock table = real;
    table.receive = receive;
    table.send = send;
    table.socket = make_socket;
    table.accept_ex = accept_ex;
    table.set_option = set_option;
    table.cancel = cancel;
    table.disconnect_ex = disconnect_ex;
    table.connect_ex = connect_ex;
    table.transmit_file = transmit_file;
    if (!skips) {
        table.set_modes = no_modes;
    }
    return table;
}

}  // namespace iocp::contract

#endif
