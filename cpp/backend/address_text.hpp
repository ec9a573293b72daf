#pragma once

#include <cstdint>
#include <string>

#include "base/address.hpp"

namespace iocp {

// The parts of a socket address, as Python's socket module writes them.
struct AddressText {
    int family{0};
    // A name or a numeric address; for AF_UNIX the path, which may begin with a zero byte.
    std::string host;
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
        not_found,     // `code` is an EAI_* number of getaddrinfo(3)
        system_error,  // `code` is the system's error number: the lookup could not be made
    };
    What what{What::found};
    int code{0};
};

// Converts a text to a socket address. An empty host means every interface; "<broadcast>" means
// every IPv4 host. A numeric host never blocks; the lookup of any other host may. The scope in a
// host such as "fe80::1%eth0" counts only if `text.scope_id` is 0.
Resolution address_from_text(const AddressText& text, Address& out, bool look_up = true);
const char* address_error(int code) noexcept;
// Makes an AF_UNIX address. Returns false if the path does not fit.
bool unix_address(const std::string& path, Address& out);
AddressText text_from_address(const Address& address);

}  // namespace iocp
