// Passes no ancillary data: Winsock has control data only for a few options of datagrams.
#include "backend/ancillary.hpp"

namespace iocp {

const bool has_ancillary = false;

std::vector<std::byte> ancillary_block(const std::vector<AncillaryItem>& /*items*/) { return {}; }

std::vector<AncillaryItem> ancillary_items(const std::byte* /*block*/, std::size_t /*length*/) {
    return {};
}

void close_passed(const std::byte* /*block*/, std::size_t /*length*/) noexcept {}

}  // namespace iocp
