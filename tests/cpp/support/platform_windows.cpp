#ifdef _WIN32

#include <winsock2.h>
// winsock2.h must precede every other header of the system.
#include <mswsock.h>
#include <windows.h>
#include <ws2tcpip.h>

#include <cstring>
#include <utility>

#include "platform.hpp"

namespace iocp::platform {

namespace {

SOCKET socket_of(Handle handle) noexcept { return static_cast<SOCKET>(handle); }

SOCKET fresh() noexcept {
    return ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                        WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

struct Entry {  // SYSTEM_HANDLE_TABLE_ENTRY_INFO_EX
    void* object;
    ULONG_PTR process;
    ULONG_PTR handle;
    ULONG access;
    USHORT trace, type;
    ULONG attributes, reserved;
};

// Finds this process's handles among those of all processes, because GetProcessHandleCount()
// reports 0 under Wine 8.0.
std::vector<Entry> handles() {
    using Query = LONG(WINAPI*)(ULONG, void*, ULONG, ULONG*);
    constexpr ULONG extended_handles = 64;
    const auto query = reinterpret_cast<Query>(reinterpret_cast<void*>(
        ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "NtQuerySystemInformation")));
    std::vector<char> memory(1U << 17U);
    while (query(extended_handles, memory.data(), static_cast<ULONG>(memory.size()), nullptr) !=
           0) {
        memory.resize(memory.size() * 2);
    }
    ULONG_PTR count = 0;
    std::memcpy(&count, memory.data(), sizeof count);
    std::vector<Entry> own;
    for (ULONG_PTR i = 0; i < count; ++i) {
        Entry entry{};
        std::memcpy(&entry, memory.data() + 2 * sizeof count + i * sizeof entry, sizeof entry);
        if (entry.process == ::GetCurrentProcessId()) {
            own.push_back(entry);
        }
    }
    return own;
}

USHORT type_of(HANDLE handle) {
    for (const Entry& entry : handles()) {
        if (entry.handle == reinterpret_cast<ULONG_PTR>(handle)) {
            return entry.type;
        }
    }
    return 0;
}

// Returns the type numbers of the handles of sockets and of completion ports. Files have the type
// of sockets.
std::pair<USHORT, USHORT> counted_types() {
    WSADATA data{};
    (void)::WSAStartup(MAKEWORD(2, 2), &data);
    const SOCKET socket = fresh();
    const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    const std::pair<USHORT, USHORT> found{type_of(reinterpret_cast<HANDLE>(socket)), type_of(port)};
    (void)::closesocket(socket);
    (void)::CloseHandle(port);
    return found;
}

}  // namespace

std::vector<std::string> backends() { return {"iocp"}; }

// Does not count events, threads and mutexes, because the run-time libraries make them at any time.
std::size_t open_descriptors() {
    static const auto [socket, port] = counted_types();
    std::size_t count = 0;
    for (const Entry& entry : handles()) {
        count += entry.type == socket || entry.type == port ? 1 : 0;
    }
    return count;
}

// Connects two TCP sockets over loopback, because Windows has no socketpair().
bool socket_pair(Handle& one, Handle& other) {
    WSADATA data{};
    (void)::WSAStartup(MAKEWORD(2, 2), &data);
    const SOCKET listener = fresh();
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* where = reinterpret_cast<sockaddr*>(&address);
    int length = sizeof address;
    const SOCKET connecting = fresh();
    const bool connected =
        ::bind(listener, where, sizeof address) == 0 && ::listen(listener, 1) == 0 &&
        ::getsockname(listener, where, &length) == 0 && ::connect(connecting, where, length) == 0;
    const SOCKET accepted = connected ? ::accept(listener, nullptr, nullptr) : INVALID_SOCKET;
    (void)::closesocket(listener);
    one = static_cast<Handle>(connecting);
    other = static_cast<Handle>(accepted);
    return accepted != INVALID_SOCKET;
}

Handle duplicate(Handle handle) {
    WSAPROTOCOL_INFOW info{};
    if (::WSADuplicateSocketW(socket_of(handle), ::GetCurrentProcessId(), &info) != 0) {
        return no_handle;
    }
    return static_cast<Handle>(::WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO,
                                            FROM_PROTOCOL_INFO, &info, 0, WSA_FLAG_OVERLAPPED));
}

void close_handle(Handle handle) { (void)::closesocket(socket_of(handle)); }

Handle make_file(const std::vector<std::byte>& bytes) {
    wchar_t directory[MAX_PATH];
    wchar_t name[MAX_PATH];
    (void)::GetTempPathW(MAX_PATH, directory);
    (void)::GetTempFileNameW(directory, L"ics", 0, name);
    const HANDLE file = ::CreateFileW(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_DELETE,
                                      nullptr, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, nullptr);
    DWORD written = 0;
    const bool good = file != INVALID_HANDLE_VALUE &&
                      ::WriteFile(file, bytes.data(), static_cast<DWORD>(bytes.size()), &written,
                                  nullptr) != FALSE;
    return good && written == bytes.size() ? reinterpret_cast<Handle>(file) : no_handle;
}

void cut_file(Handle file, std::size_t length) {
    LARGE_INTEGER end{};
    end.QuadPart = static_cast<LONGLONG>(length);
    (void)::SetFilePointerEx(reinterpret_cast<HANDLE>(file), end, nullptr, FILE_BEGIN);
    (void)::SetEndOfFile(reinterpret_cast<HANDLE>(file));
}

void close_file(Handle file) { (void)::CloseHandle(reinterpret_cast<HANDLE>(file)); }

bool connects_again() {
    return ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == nullptr;
}

bool set_nonblocking(Handle handle) {
    u_long on = 1;
    return ::ioctlsocket(socket_of(handle), FIONBIO, &on) == 0;
}

// Tries a receive without data, because Windows does not report the mode. The receive fails at once
// on a non-blocking socket, and after its time limit on a blocking one.
bool is_nonblocking(Handle handle) {
    const DWORD limit = 100;
    (void)::setsockopt(socket_of(handle), SOL_SOCKET, SO_RCVTIMEO,
                       reinterpret_cast<const char*>(&limit), sizeof limit);
    char byte = 0;
    return ::recv(socket_of(handle), &byte, 1, 0) < 0 && ::WSAGetLastError() == WSAEWOULDBLOCK;
}

bool is_reset(int code) { return code == WSAECONNRESET || code == WSAECONNABORTED; }

bool is_refused(int code) { return code == WSAECONNREFUSED; }

// Windows reports WSAECONNRESET, and Wine 8.0 the code of the system below it.
bool is_bounce(int code) { return code == WSAECONNRESET || code == WSAECONNREFUSED; }

const char* deaf_after_bounce() {
    const HMODULE system = ::GetModuleHandleW(L"ntdll.dll");
    return ::GetProcAddress(system, "wine_get_version") != nullptr
               ? "Wine 8.0: an overlapped receive of a connected datagram socket receives "
                 "nothing more after an error"
               : nullptr;
}

bool is_too_long(int code) { return code == WSAEMSGSIZE; }

const int type_datagram = SOCK_DGRAM;
const int flag_peek = MSG_PEEK;
const int flag_truncated = MSG_TRUNC;
const int flag_wait_all = MSG_WAITALL;
const int level_socket = SOL_SOCKET;
const int option_send_buffer = SO_SNDBUF;
const int option_receive_buffer = SO_RCVBUF;

}  // namespace iocp::platform

#endif
