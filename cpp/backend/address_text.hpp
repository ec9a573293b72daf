#pragma once

#include <cstdint>
#include <string>

#include "backend/address.hpp"

namespace iocp {

// What an address says, in the terms of the socket module.
struct AddressText {
    int family{0};
    std::string host;  // numeric; for AF_UNIX the path, which may begin with a zero byte
    std::uint16_t port{0};
    std::uint32_t flow_info{0};
    std::uint32_t scope_id{0};
};

// How a host became an address of the family that was asked for, or why it did not.
struct Resolution {
    enum class What : std::uint8_t {
        found,
        other_family,  // the host is numeric, and of another family: no lookup was made
        name,          // the host is no number, and was not to be looked up
        not_found,     // `code` is that of getaddrinfo(3), EAI_*
        system_error,  // `code` is the system's: the lookup could not be made
    };
    What what{What::found};
    int code{0};
};

// An empty host is the address of every interface, and "<broadcast>" the one of IPv4 that reaches
// every host. A numeric host never blocks; every other one is looked up, which does. The flow
// information is the text's, and so is the scope unless it is 0 and the host has one ("%eth0").
Resolution address_from_text(const AddressText& text, Address& out, bool look_up = true);
const char* address_error(int code) noexcept;
// False for the unix path that does not fit.
bool unix_address(const std::string& path, Address& out);
AddressText text_from_address(const Address& address);

}  // namespace iocp
