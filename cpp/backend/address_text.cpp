#include "backend/address_text.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "native_sockets.hpp"

namespace iocp {

namespace {

template <class T>
void store(Address& out, const T& value, std::size_t length) noexcept {
    static_assert(sizeof(T) <= sizeof(out.bytes));
    std::memcpy(out.bytes.data(), &value, length);
    out.length = static_cast<std::uint32_t>(length);
}

// Converts the usual forms of an address without getaddrinfo(3), which would be slow for every
// datagram sent. Returns false for any other form.
bool plain(const AddressText& text, Address& out) noexcept {
    if (text.family == AF_INET) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(text.port);
        if (text.host.empty()) {
            address.sin_addr.s_addr = htonl(INADDR_ANY);
        } else if (text.host == "<broadcast>") {
            address.sin_addr.s_addr = htonl(INADDR_BROADCAST);
        } else if (::inet_pton(AF_INET, text.host.c_str(), &address.sin_addr) != 1) {
            return false;
        }
        store(out, address, sizeof address);
        return true;
    }
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(text.port);
    address.sin6_flowinfo = htonl(text.flow_info);
    address.sin6_scope_id = text.scope_id;
    if (!text.host.empty() && ::inet_pton(AF_INET6, text.host.c_str(), &address.sin6_addr) != 1) {
        return false;
    }
    store(out, address, sizeof address);
    return true;
}

// Looks the host up with getaddrinfo(3). The address in `out` then still lacks the port.
int ask(const AddressText& text, int family, int flags, Address& out) {
    addrinfo hints{};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;  // of any type, so that each address has one answer
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int code = ::getaddrinfo(text.host.c_str(), nullptr, &hints, &found);
    if (code == 0) {
        std::memcpy(out.bytes.data(), found->ai_addr, found->ai_addrlen);
        out.length = static_cast<std::uint32_t>(found->ai_addrlen);
        ::freeaddrinfo(found);
    }
    return code;
}

int family_in(const Address& address) noexcept {
    return reinterpret_cast<const sockaddr*>(address.bytes.data())->sa_family;
}

// Adds the port, and for IPv6 the flow information and the scope, to the host's address.
void complete(const AddressText& text, Address& out) noexcept {
    if (text.family == AF_INET) {
        reinterpret_cast<sockaddr_in*>(out.bytes.data())->sin_port = htons(text.port);
        return;
    }
    auto* address = reinterpret_cast<sockaddr_in6*>(out.bytes.data());
    address->sin6_port = htons(text.port);
    address->sin6_flowinfo = htonl(text.flow_info);
    if (text.scope_id != 0) {
        address->sin6_scope_id = text.scope_id;
    }
}

Resolution failed(int code) noexcept {
#ifdef EAI_SYSTEM
    if (code == EAI_SYSTEM) {
        return {Resolution::What::system_error, errno};
    }
#endif
    return {Resolution::What::not_found, code};
}

}  // namespace

Resolution address_from_text(const AddressText& text, Address& out, bool look_up) {
    if (plain(text, out)) {
        return {};
    }
    int code = text.host == "<broadcast>" ? EAI_FAMILY : ask(text, AF_UNSPEC, AI_NUMERICHOST, out);
    if (code == EAI_FAMILY || (code == 0 && family_in(out) != text.family)) {
        return {Resolution::What::other_family, 0};
    }
    if (code != 0 && !look_up) {
        return {Resolution::What::name, 0};
    }
    if (code != 0) {
        code = ask(text, text.family, 0, out);
    }
    if (code != 0) {
        return failed(code);
    }
    complete(text, out);
    return {};
}

const char* address_error(int code) noexcept { return gai_strerror(code); }

bool unix_address(const std::string& path, Address& out) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const bool abstract = !path.empty() && path[0] == '\0';
    if (path.size() + (abstract ? 0 : 1) > sizeof address.sun_path) {
        return false;
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    const std::size_t length =
        offsetof(sockaddr_un, sun_path) + path.size() + (abstract || path.empty() ? 0 : 1);
    store(out, address, length);
    return true;
}

AddressText text_from_address(const Address& address) {
    AddressText text;
    const auto* generic = reinterpret_cast<const sockaddr*>(address.bytes.data());
    if (address.length < sizeof generic->sa_family) {
        return text;
    }
    text.family = generic->sa_family;
    char buffer[INET6_ADDRSTRLEN] = "";
    if (text.family == AF_INET) {
        const auto* in = reinterpret_cast<const sockaddr_in*>(generic);
        (void)::inet_ntop(AF_INET, &in->sin_addr, buffer, sizeof buffer);
        text.host = buffer;
        text.port = ntohs(in->sin_port);
    } else if (text.family == AF_INET6) {
        const auto* in = reinterpret_cast<const sockaddr_in6*>(generic);
        (void)::inet_ntop(AF_INET6, &in->sin6_addr, buffer, sizeof buffer);
        text.host = buffer;
        text.port = ntohs(in->sin6_port);
        text.flow_info = ntohl(in->sin6_flowinfo);
        text.scope_id = in->sin6_scope_id;
    } else if (text.family == AF_UNIX) {
        const auto* un = reinterpret_cast<const sockaddr_un*>(generic);
        const std::size_t length = address.length - offsetof(sockaddr_un, sun_path);
        if (length != 0 && un->sun_path[0] == '\0') {
            text.host.assign(un->sun_path, length);
        } else if (length != 0) {
            text.host.assign(un->sun_path, ::strnlen(un->sun_path, length));
        }
    }
    return text;
}

}  // namespace iocp
