#pragma once

#include <cstdint>
#include <string>

#include "base/address.hpp"

namespace iocp {

// The parts of an address, in the terms of the socket module.
struct AddressText {
    int family{0};
    std::string host;  // numeric; for AF_UNIX the path, which may begin with a zero byte
    std::uint16_t port{0};
    std::uint32_t flow_info{0};
    std::uint32_t scope_id{0};
};

// The result of turning a host into an address of the requested family.
struct Resolution {
    enum class What : std::uint8_t {
        found,
        other_family,  // the host is numeric, of another family: no lookup was made
        name,          // the host is not numeric, and no lookup was allowed
        not_found,     // `code` is getaddrinfo(3)'s, EAI_*
        system_error,  // `code` is the system's: the lookup could not be made
    };
    What what{What::found};
    int code{0};
};

// An empty host means the address of every interface; "<broadcast>" means every IPv4 host. A
// numeric host never blocks; the lookup of any other does. The flow information comes from the
// text. So does the scope, unless it is 0 and the host has one ("%eth0").
Resolution address_from_text(const AddressText& text, Address& out, bool look_up = true);
const char* address_error(int code) noexcept;
// Returns false for a unix path that does not fit.
bool unix_address(const std::string& path, Address& out);
AddressText text_from_address(const Address& address);

}  // namespace iocp
