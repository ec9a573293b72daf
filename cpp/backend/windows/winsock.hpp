#pragma once

#include <winsock2.h>
// winsock2.h must precede every other header of the system.
#include <mswsock.h>
#include <windows.h>
#include <winternl.h>
#include <ws2tcpip.h>

#include <map>
#include <string>

namespace iocp {

// Every Winsock call that starts an operation or can fail for lack of resources. Tests replace
// entries of this table to inject refusals. The extension functions are loaded once.
struct Winsock {
    decltype(&::WSASocketW) socket{&::WSASocketW};
    decltype(&::bind) bind{&::bind};
    decltype(&::connect) connect{&::connect};
    decltype(&::accept) accept{&::accept};
    decltype(&::setsockopt) set_option{&::setsockopt};
    decltype(&::closesocket) close{&::closesocket};
    decltype(&::WSARecv) receive{&::WSARecv};
    decltype(&::WSASend) send{&::WSASend};
    decltype(&::WSARecvFrom) receive_from{&::WSARecvFrom};
    decltype(&::WSASendTo) send_to{&::WSASendTo};
    decltype(&::ReadFile) read_file{&::ReadFile};
    decltype(&::WriteFile) write_file{&::WriteFile};
    decltype(&::CreateIoCompletionPort) attach{&::CreateIoCompletionPort};
    decltype(&::SetFileCompletionNotificationModes) set_modes{
        &::SetFileCompletionNotificationModes};
    decltype(&::CancelIoEx) cancel{&::CancelIoEx};
    decltype(&::NtDeviceIoControlFile) control{&::NtDeviceIoControlFile};
    LPFN_ACCEPTEX accept_ex{nullptr};
    LPFN_GETACCEPTEXSOCKADDRS accept_addresses{nullptr};
    LPFN_CONNECTEX connect_ex{nullptr};
    LPFN_DISCONNECTEX disconnect_ex{nullptr};
    LPFN_TRANSMITFILE transmit_file{nullptr};

    // Starts Winsock and returns the table of its calls. Returns null, with the reason, if that
    // fails.
    static const Winsock* system(std::string& reason);
    // Returns for each extension function, by name, whether this system has it.
    [[nodiscard]] std::map<std::string, bool> extensions() const;
};

}  // namespace iocp
