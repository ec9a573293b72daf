#include "core/figures.hpp"

#include <algorithm>
#include <tuple>

namespace iocp {

namespace {

bool heavier(const SocketFigures& a, const SocketFigures& b) noexcept {
    return std::tie(a.charged, a.queued_bytes, a.outstanding, b.id.slot) >
           std::tie(b.charged, b.queued_bytes, b.outstanding, a.id.slot);
}

}  // namespace

void keep_heaviest(std::vector<SocketFigures>& sockets, std::size_t maximum) {
    const std::size_t kept = std::min(maximum, sockets.size());
    std::partial_sort(sockets.begin(), sockets.begin() + static_cast<std::ptrdiff_t>(kept),
                      sockets.end(), heavier);
    sockets.resize(kept);
}

}  // namespace iocp
