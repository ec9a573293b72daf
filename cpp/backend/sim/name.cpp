#include "backend/sim/name.hpp"

#include <cstring>

#include "native_sockets.hpp"

namespace iocp::sim {

bool name_from_address(const Address& address, Name& out) noexcept {
    sockaddr_in native{};
    if (address.length < sizeof native) {
        return false;
    }
    std::memcpy(&native, address.bytes.data(), sizeof native);
    out = {ntohl(native.sin_addr.s_addr), ntohs(native.sin_port)};
    return native.sin_family == AF_INET;
}

Address address_from_name(const Name& name) noexcept {
    sockaddr_in native{};
    native.sin_family = AF_INET;
    native.sin_addr.s_addr = htonl(name.address);
    native.sin_port = htons(name.port);
    Address address;
    std::memcpy(address.bytes.data(), &native, sizeof native);
    address.length = sizeof native;
    return address;
}

}  // namespace iocp::sim
