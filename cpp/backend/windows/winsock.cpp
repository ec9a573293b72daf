#include "backend/windows/winsock.hpp"

#include <optional>

#include "backend/system_error.hpp"

namespace iocp {

namespace {

// Loads an extension function from a provider of Winsock. The functions of the system's TCP serve
// IPv4 and IPv6.
template <class Function>
void load(SOCKET socket, GUID name, Function& out) noexcept {
    DWORD length = 0;
    if (::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &name, sizeof name, &out, sizeof out,
                   &length, nullptr, nullptr) != 0) {
        out = nullptr;
    }
}

struct Loaded {
    Winsock table;
    std::string refusal;

    Loaded() {
        WSADATA data{};
        if (const int code = ::WSAStartup(MAKEWORD(2, 2), &data); code != 0) {
            refusal = "WSAStartup: " + error_text(code);
            return;
        }
        const SOCKET probe = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
        if (probe == INVALID_SOCKET) {
            refusal = "WSASocketW: " + error_text(::WSAGetLastError());
            return;
        }
        load(probe, WSAID_ACCEPTEX, table.accept_ex);
        load(probe, WSAID_GETACCEPTEXSOCKADDRS, table.accept_addresses);
        load(probe, WSAID_CONNECTEX, table.connect_ex);
        load(probe, WSAID_DISCONNECTEX, table.disconnect_ex);
        load(probe, WSAID_TRANSMITFILE, table.transmit_file);
        (void)::closesocket(probe);
        for (const auto& [name, found] : table.extensions()) {
            if (!found) {
                refusal = name + " is missing from this system's Winsock";
                return;
            }
        }
    }
};

}  // namespace

// Tries again after a failure, because the system may only have lacked sockets.
const Winsock* Winsock::system(std::string& reason) {
    static std::optional<Loaded> loaded;
    if (!loaded.has_value() || !loaded->refusal.empty()) {
        loaded.emplace();
    }
    if (!loaded->refusal.empty()) {
        reason = loaded->refusal;
        return nullptr;
    }
    return &loaded->table;
}

std::map<std::string, bool> Winsock::extensions() const {
    return {{"AcceptEx", accept_ex != nullptr},
            {"GetAcceptExSockaddrs", accept_addresses != nullptr},
            {"ConnectEx", connect_ex != nullptr},
            {"DisconnectEx", disconnect_ex != nullptr},
            {"TransmitFile", transmit_file != nullptr}};
}

}  // namespace iocp
