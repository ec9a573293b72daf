#pragma once

#include <compare>
#include <cstdint>

#include "base/address.hpp"

namespace iocp::sim {

// An IPv4 address and port in host order.
struct Name {
    std::uint32_t address{0};
    std::uint16_t port{0};

    friend bool operator==(const Name&, const Name&) = default;
    friend bool operator<(const Name& a, const Name& b) noexcept {
        return a.address != b.address ? a.address < b.address : a.port < b.port;
    }
};

inline constexpr std::uint32_t loopback = 0x7f00'0001U;

// Converts a socket address. Returns false if the address is not one of AF_INET.
bool name_from_address(const Address& address, Name& out) noexcept;
Address address_from_name(const Name& name) noexcept;

}  // namespace iocp::sim
