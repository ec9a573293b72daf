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

// 0, or the code getaddrinfo(3) gives (EAI_*): a host that is no number is looked up, which blocks.
int address_from_text(const AddressText& text, int socket_type, Address& out);
const char* address_error(int code) noexcept;
// False for the unix path that does not fit.
bool unix_address(const std::string& path, Address& out);
AddressText text_from_address(const Address& address);

}  // namespace iocp
